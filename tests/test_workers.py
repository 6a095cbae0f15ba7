"""Workers: blocks, who decides which, what is refused; and, slowly, runs by processes of a Ray cluster."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import psutil
import pytest
from null_run_factory import null_runner, null_settings

import polyphony.simulation.runs.runner as runner_module
from polyphony.errors import InputError
from polyphony.metrics.runfile.digest import run_digest
from polyphony.simulation.policies.policy import Decision, Observation
from polyphony.simulation.runs.blocks import (
    BLOCK,
    MOST_TRIES,
    BlockLost,
    BlockPolicy,
    BlockQueues,
    blocks_of,
    home_of,
    worker_threads,
)
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.recorded import settings_of
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.settings import RunSettings, make_settings
from polyphony.simulation.runs.workers import (
    WorkerDescription,
    Workers,
    check_alike,
    describe,
    in_blocks,
    workers_of,
)

OWNER = WorkerDescription("0.2.0", "c0de", "ba5e", "bf16", "cpu", "built", "AVX512", "2.13.0")


def seen(*agents):
    return [Observation(agent, 0, (), {}) for agent in agents]


class Recorder:
    """A policy that keeps who decided together."""

    def __init__(self):
        self.asked = []

    def decide(self, observations):
        self.asked.append([observation.agent for observation in observations])
        return [Decision(None, failure=str(observation.agent)) for observation in observations]


def test_blocks_depend_on_who_is_active_alone():
    agents = sorted(random.Random(1).sample(range(500), 70))
    blocks = blocks_of(seen(*agents), 32)
    assert [len(block) for block in blocks] == [32, 32, 6]
    assert [observation.agent for block in blocks for observation in block] == agents
    assert blocks_of([], 32) == []
    policy = Recorder()
    decisions = BlockPolicy(policy, 32).decide(seen(*agents))
    assert policy.asked == [[observation.agent for observation in block] for block in blocks]
    assert [int(decision.failure) for decision in decisions] == agents


def test_neighbouring_agents_are_at_home_with_one_worker():
    blocks = blocks_of(seen(*range(0, 512, 2)), 32)
    homes = [home_of(block, 512, 4) for block in blocks]
    assert homes == [0, 0, 1, 1, 2, 2, 3, 3]
    later = [home_of(block, 512, 4) for block in blocks_of(seen(*range(1, 512, 2)), 32)]
    assert later == homes, "the same people, whoever of them is active"
    assert home_of(seen(511), 512, 7) == 6 and home_of(seen(0), 1, 64) == 0


def test_a_worker_takes_its_own_blocks_first_and_helps_the_one_with_most():
    queues = BlockQueues([0, 0, 0, 1], 2)
    assert [queues.next_of(1, may_help=True), queues.next_of(1, may_help=False)] == [3, None]
    assert queues.next_of(1, may_help=True) == 2, "the last block, which its worker would decide last"
    assert [queues.next_of(0, may_help=True) for _ in range(3)] == [0, 1, None] and queues.waiting == 0


def test_a_block_that_is_lost_too_often_ends_the_run():
    queues = BlockQueues([0, 0], 1)
    for _ in range(MOST_TRIES - 1):
        assert queues.next_of(0, may_help=True) == 0
        queues.lose(0, 0)
    queues.lose(1, 0, counts=False)
    queues.lose(1, 0, counts=False)
    with pytest.raises(BlockLost):
        queues.lose(0, 0)


@pytest.mark.parametrize("threads, expected", [("3", 3), ("", 1), ("0", 1), ("4,2", 1), ("-1", 1), ("²", 1)])
def test_a_worker_has_the_threads_it_is_given_else_one(monkeypatch, threads, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert worker_threads() == expected


def test_workers_are_a_number_or_an_address():
    assert workers_of("4") == Workers(4) and workers_of(" 1 ", 9.0) == Workers(1, "", 9.0)
    for address in ("ray://host-1.example:10001", "10.0.0.1:6379", "auto"):
        assert workers_of(address) == Workers(0, address) and workers_of(address).are_processes
    assert not workers_of("1").are_processes
    for odd in ("", "0", "-1", "1025", "9" * 30, "1.5", "two", "ray://", "ray://host", "http://host:1", "a b:1", "٣",
                "host:1\n2", "ray://user:pass@host:1"):  # fmt: skip
        with pytest.raises(InputError, match="give a number of processes from 1 to 1024") as raised:
            workers_of(odd)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [field.name for field in fields(WorkerDescription)])
def test_a_worker_that_would_compute_other_bits_is_refused(name):
    check_alike(OWNER, replace(OWNER), "node-2")
    with pytest.raises(InputError, match="the worker on node-2, process 7 has another .*'other'") as raised:
        check_alike(OWNER, replace(OWNER, **{name: "other"}), "node-2, process 7")
    assert "\n" not in str(raised.value) and "; " in str(raised.value), "with a remedy"


def test_a_process_describes_itself(native_base):
    description = describe(native_base)
    assert (description.base_model, description.compute_type) == (native_base.hash, native_base.dtype)
    assert all(getattr(description, field.name) for field in fields(WorkerDescription))
    assert describe(None) == WorkerDescription(description.polyphony, description.code)


def test_blocks_are_recorded_where_they_can_change_bits_and_only_there():
    assert "block" not in json.loads(make_settings({}).recorded()), "digests of runs without stay"
    assert json.loads(in_blocks(make_settings({})).recorded())["block"] == BLOCK
    null = null_settings(agents=4, timesteps=1)
    assert in_blocks(null) == null


def test_one_worker_is_this_process_without_ray(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    settings = null_settings(agents=40, timesteps=2, activation=4.0)
    null_runner(40).run(settings, tmp_path / "none.db", resume=False)
    null_runner(40).run(in_blocks(settings), tmp_path / "one.db", resume=False, workers=Workers(1))
    assert run_digest(tmp_path / "none.db") == run_digest(tmp_path / "one.db")


def test_a_run_in_blocks_is_read_back_and_continued_in_blocks_alone(tmp_path):
    settings, out = null_settings(agents=4, timesteps=1, block=3), tmp_path / "run.db"
    null_runner(4).run(settings, out, resume=False)
    assert settings_of(out) == settings
    null_runner(4).run(settings, out, resume=True)
    with pytest.raises(InputError, match="block -1 must be at least 0"):
        replace(settings, block=-1)
    with pytest.raises(InputError, match="its agents decided in blocks; continue it with --workers"):
        null_runner(4).run(replace(settings, block=0), out, resume=True)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--workers", "many"), "give a number of processes from 1 to 1024"),
        (("--workers", 2, "--worker-seconds", 0), "--worker-seconds 0.0 must be at least 1"),
        (("--workers", 2, "--policy", "camel"), "--workers is for --policy engine and null, not for camel"),
        (("--workers", 2, "--policy", "engine", "--engine", "http", "--engine-url", "http://127.0.0.1:1/v1"),
         "--workers: with --engine http the server computes"),
        (("--workers", "127.0.0.1:1"), "--workers 127.0.0.1:1: no cluster can be reached there"),
        (("--workers", "ray://127.0.0.1:1"), "--workers ray://127.0.0.1:1: no cluster can be reached there"),
    ],
)  # fmt: skip
def test_workers_that_cannot_be_had_are_one_line_and_leave_nothing(simulate, tmp_path, arguments, said):
    out = tmp_path / "run.db"
    code, _, lines = simulate("run", "--policy", "null", "--agents", 4, "--steps", 1, "--out", out, *arguments)
    assert (code, len(lines)) == (2, 1) and said in lines[0], lines
    assert list(tmp_path.iterdir()) == []


def test_without_ray_the_line_says_what_to_install(simulate, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ("run", "--policy", "null", "--agents", 4, "--steps", 1, "--out", tmp_path / "run.db", "--workers", 2)
    assert simulate(*command)[::2] == (
        2, ["simulate: --workers needs the package ray: pip install 'polyphony-sim[ray]'"]
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def actors():
    """The processes of workers that this process has started."""
    return [child for child in psutil.Process().children(recursive=True) if child.name().startswith("ray::Worker")]


def strike(number, struck):
    """Send a signal to a worker as soon as it decides."""
    until = time.monotonic() + 300
    while not struck and time.monotonic() < until:
        for actor in actors():
            try:
                if actor.cmdline()[0].endswith(".decide"):
                    actor.send_signal(number)
                    struck.append(actor.pid)
                    return
            except (psutil.NoSuchProcess, IndexError):
                continue
        time.sleep(0.05)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """The bank of people of the town that comes with a checkout."""
    bank = tmp_path_factory.mktemp("ready") / "bank"
    subprocess.run([sys.executable, "-m", "polyphony", "bank", "ready", "--bank", bank], check=True)
    return bank


def by_workers(bank, out, workers, *, timesteps=2, resume=False, said=None):
    """An engine run of a few agents in blocks of three."""
    settings = RunSettings(
        population="town", agents=12, timesteps=timesteps, activation=6.0, weights="serving", block=3
    )  # fmt: skip
    hooks = Hooks(say=(said if said is not None else []).append)
    runner = Runner(settings, bank=bank, dtype="bf16", hooks=hooks)
    runner.run(settings, out, resume=resume, workers=workers)
    return run_digest(out)


@pytest.mark.slow
def test_any_number_of_workers_decides_the_same_whoever_dies(ready, tmp_path):
    alone = by_workers(ready, tmp_path / "one.db", Workers(1))
    with closing(sqlite3.connect(tmp_path / "one.db")) as connection:
        ((most,),) = connection.execute("SELECT max(activations) FROM checkpoint").fetchall()
    assert most > 3, "several blocks"

    by_workers(ready, tmp_path / "two.db", Workers(2), timesteps=1)
    assert by_workers(ready, tmp_path / "two.db", Workers(1), resume=True) == alone, "continued by another number"

    said: list[str] = []
    struck: list[int] = []
    killer = threading.Thread(target=strike, args=(signal.SIGKILL, struck), daemon=True)
    killer.start()
    assert by_workers(ready, tmp_path / "killed.db", Workers(2), said=said) == alone
    killer.join()
    lines = [line for line in said if "was lost" in line]
    assert len(lines) == 1 and f"process {struck[0]}" in lines[0] and "decided again: agents" in lines[0], said
    assert actors() == [], "no process stays"


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_replaced(tmp_path, capfd):
    said: list[str] = []
    stopped: list[psutil.Process] = []
    settings = null_settings(agents=200, timesteps=3, activation=8.0)
    null_runner(200).run(settings, tmp_path / "alone.db", resume=False)

    def stop_one(done, total, activations):
        if done == 1:
            stopped.append(actors()[0])
            stopped[0].suspend()

    runner = Runner(settings, bank=Path("unused"), hooks=Hooks(say=said.append, timestep=stop_one))
    runner.run(settings, tmp_path / "late.db", resume=False, workers=Workers(2, "", 5.0))
    assert run_digest(tmp_path / "late.db") == run_digest(tmp_path / "alone.db")
    late = [line for line in said if "did not answer within 5 s; decided again: agents" in line]
    assert any(line.startswith("timestep 1: ") and f"process {stopped[0].pid}" in line for line in late), said
    assert capfd.readouterr().out == "", "Ray prints nothing to stdout"


@pytest.mark.slow
def test_other_workers_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "describe", lambda base: replace(describe(base), code="0ther"))
    settings = null_settings(agents=4, timesteps=1)
    with pytest.raises(InputError, match="has another source code of Polyphony .*install the same version on all"):
        null_runner(4).run(settings, tmp_path / "run.db", resume=False, workers=Workers(2))
    assert list(tmp_path.iterdir()) == []
