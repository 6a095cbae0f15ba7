"""Studies by workers: the same runs whoever does them; and, slowly, by processes of Ray on one node and on two."""

import signal
import sys
from pathlib import Path

import psutil
import pytest
from null_run_factory import null_runner, null_settings

from polyphony.metrics.runfile.digest import run_digest
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.run_task import RunTask, run_file_content, runs_done
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.status import recorded_status
from polyphony.simulation.runs.workers import Workers
from polyphony.simulation.study.plan import joined, make_plan
from polyphony.simulation.study.study import StudyPlace, StudyRunner

PLAN = {"agents": [40], "arms": ["lora", "base"], "seeds": 2, "steps": 6, "policy": "null", "reference": "base"}


def digests(directory):
    """The digest of each run of a study, by its file."""
    return {file.name: run_digest(file) for file in sorted((directory / "runs").glob("*.db"))}


def run_study(directory, workers=None, said=None, finished=lambda cell, seconds, done, total: None):
    """Run what is missing of a small study."""
    hooks = Hooks(say=(said if said is not None else []).append)
    study = StudyRunner(joined(make_plan(PLAN, "test"), directory), StudyPlace(directory, Machine(directory)), hooks)
    study.run(study.missing(), 1, finished, workers=workers)
    return digests(directory)


def actors():
    """The processes of workers that this process has started."""
    return [child for child in psutil.Process().children(recursive=True) if child.name().startswith("ray::Worker")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A study without workers."""
    directory = tmp_path_factory.mktemp("alone") / "study"
    run_study(directory)
    return directory


def test_a_run_done_elsewhere_is_the_run_done_here_and_goes_on_from_what_was_begun(tmp_path):
    settings, machine = null_settings(agents=8, timesteps=4), Machine(Path("unused"))
    runner = null_runner(8)
    runner.run(settings, tmp_path / "whole.db", resume=False)
    runner.run(null_settings(agents=8, timesteps=2), tmp_path / "half.db", resume=False)
    far: list[int] = []
    for begun in (None, run_file_content(tmp_path / "half.db")):
        result = runs_done(RunTask((settings,), (begun,)), runner.population, machine, far.append)
        (tmp_path / "back.db").write_bytes(result.files[0])
        assert run_digest(tmp_path / "back.db") == run_digest(tmp_path / "whole.db")
        assert recorded_status(tmp_path / "back.db") == "finished" and result.tiers is None
    assert far == [1, 2, 3, 4, 3, 4], "half of it was there"


def test_one_worker_is_this_process_without_ray(alone, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run_study(tmp_path / "study", Workers(1)) == digests(alone)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--workers", "many"), "give a number of processes from 1 to 1024"),
        (("--workers", 2, "--at-once", 2), "--at-once and --workers both say how many runs are done at a time"),
        (("--workers", 2, "--worker-seconds", 0), "--worker-seconds 0.0 must be at least 1"),
        (("--workers", "127.0.0.1:1"), "--workers 127.0.0.1:1: no cluster can be reached there"),
        (("--workers", 2), "--workers needs the package ray: pip install 'polyphony-sim[ray]'"),
    ],
)
def test_workers_that_cannot_be_had_are_one_line_and_leave_no_study(simulate, tmp_path, monkeypatch, arguments, said):
    if "needs the package" in said:
        monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "study"
    code, _, lines = simulate("study", "--agents", 4, "--arms", "base", "--seeds", 1, "--steps", 1, "--set",
                              "policy=null", "--out", out, *arguments)  # fmt: skip
    assert code == 2 and said in lines[-1] and sum(line.startswith("simulate: ") for line in lines) == 1, lines
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.slow
def test_workers_do_the_runs_of_a_study_whoever_dies(alone, tmp_path):
    directory, said, struck = tmp_path / "study", list[str](), list[int]()

    def kill_one(cell, seconds, done, total):
        if not struck:
            struck.append(actors()[0].pid)
            psutil.Process(struck[0]).send_signal(signal.SIGKILL)

    assert run_study(directory, Workers(2), said, kill_one) == digests(alone)
    assert [line for line in said if f"process {struck[0]}) was lost" in line], said
    assert actors() == [], "no process stays"

    lost, begun = sorted((directory / "runs").glob("*.db"))[:2]
    lost.unlink()
    begun.unlink()
    settings = joined(make_plan(PLAN, "test"), directory).settings(
        next(cell for cell in make_plan(PLAN, "test").cells() if begun.name == Path(cell.file).name)
    )
    half = Runner(settings, bank=directory)

    def stop(done, total, activations):
        if done == 3:
            raise KeyboardInterrupt

    half.resources.hooks = Hooks(timestep=stop)
    with pytest.raises(KeyboardInterrupt):
        half.run(settings, begun, resume=False)
    assert recorded_status(begun) == "interrupted"
    assert run_study(directory, Workers(2), said) == digests(alone), "what is missing, and what was begun"


@pytest.mark.slow
def test_a_run_that_cannot_be_written_leaves_what_is_finished(alone, tmp_path, monkeypatch):
    directory, written = tmp_path / "study", []

    def write(path, content):
        if path.suffix == ".db":
            written.append(path)
            if len(written) == 2:
                raise OSError(28, "No space left on device", str(path))
        return whole(path, content)

    from polyphony.simulation.study import study_workers

    whole = study_workers.write_durably
    with monkeypatch.context() as patch:
        patch.setattr(study_workers, "write_durably", write)
        with pytest.raises(OSError, match="No space left"):
            run_study(directory, Workers(2))
    assert [recorded_status(path) for path in (directory / "runs").iterdir()] == ["finished"] and actors() == []
    assert run_study(directory, Workers(2)) == digests(alone)


@pytest.mark.slow
def test_two_nodes_give_the_digest_of_one_process_and_one_of_them_may_be_lost(tmp_path):
    """Two nodes of Ray on this machine: each has a raylet of its own, with one CPU."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    settings = null_settings(agents=100, timesteps=4, activation=8.0)
    null_runner(100).run(settings, tmp_path / "alone.db", resume=False)
    nodes = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        said: list[str] = []
        raylets: set[int] = set()

        def lose_one(done, total, activations):
            if done == 2:
                raylets.update(actor.ppid() for actor in actors())
                nodes.remove_node(other, allow_graceful=False)

        for name, hook in (("both", lambda *given: None), ("lost", lose_one)):
            runner = Runner(settings, bank=Path("unused"), hooks=Hooks(say=said.append, timestep=hook))
            runner.run(settings, tmp_path / f"{name}.db", resume=False, workers=Workers(0, nodes.address))
            assert run_digest(tmp_path / f"{name}.db") == run_digest(tmp_path / "alone.db")
        assert len(raylets) == 2, "a worker on each node"
        assert sum(line.startswith("workers: 2 on ") for line in said) == 2
        assert any("was lost; decided again" in line for line in said), said
    finally:
        nodes.shutdown()
