"""Training by workers: the same adapters whoever trains, each committed once; and, slowly, by processes of Ray."""

import resource
import signal
import sqlite3
import sys
from contextlib import closing, contextmanager

import psutil
import pytest
from training_factory import tiny_model

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PERSONAL
from polyphony.adapters.bank.verification import verify
from polyphony.adapters.training import population_training
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.errors import InputError
from polyphony.simulation.runs.cluster import joined
from polyphony.simulation.runs.hooks import Hooks
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import make_settings
from polyphony.simulation.runs.training_workers import training_workers
from polyphony.simulation.runs.workers import Workers, in_blocks

SMALL = {"agents": 5, "prior_examples": 12, "examples": 4, "epochs": 4}


@pytest.fixture(scope="module")
def tiny(base, tmp_path_factory):
    return tiny_model(base, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def pairs(monkeypatch):
    """Groups of two people."""
    monkeypatch.setattr(population_training, "GROUP", {"cpu": 2, "gpu": 2})


def trained(bank, tiny, workers, said=None):
    """The objects of five people's adapters, trained into a bank in three groups."""
    settings = in_blocks(make_settings(SMALL))
    hooks = Hooks(say=(said if said is not None else []).append)
    resources = Resources(settings, bank=bank, base_model=tiny, device="cpu", dtype="fp32", hooks=hooks)
    with (
        joined(workers, 1) as ray,
        training_workers(ray, workers, settings, resources),
        closing(resources.open_bank()) as opened,
    ):
        revisions = resources.training(settings, opened).personal(resources.personas)
    with closing(sqlite3.connect(bank / "catalog.sqlite")) as connection:
        ((count, digests),) = connection.execute(
            "SELECT count(*), count(DISTINCT training_digest) FROM revision"
        ).fetchall()
    assert count == digests, "each training is in the bank once"
    return [(revision.person, revision.number, revision.object) for revision in revisions]


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    """What one process trains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population_training, "GROUP", {"cpu": 2, "gpu": 2})
        return trained(tmp_path_factory.mktemp("alone") / "bank", tiny, Workers(1))


def actors():
    """The processes of workers that this process has started."""
    return [child for child in psutil.Process().children(recursive=True) if child.name().startswith("ray::Worker")]


@pytest.fixture
def strike(monkeypatch):
    """Sends a signal to all workers when the second group is handed out; gives their processes."""
    make, handed_out, struck = PopulationTraining._group, [], list[int]()

    def prepare(number):
        def group(training, learners, planned, *more):
            handed_out.extend([planned] * (planned.kind == PERSONAL))
            if len(handed_out) == 2 and not struck:
                for actor in actors():
                    actor.send_signal(number)
                    struck.append(actor.pid)
            return make(training, learners, planned, *more)

        monkeypatch.setattr(PopulationTraining, "_group", group)
        return struck

    return prepare


@pytest.mark.slow
def test_the_order_in_which_groups_come_back_changes_no_adapter(tiny, alone, tmp_path):
    class Backwards:
        """Trains in this process, the last group first."""

        def __init__(self, training):
            self.training = training

        def train_groups(self, count, group, progress):
            for number in reversed(range(count)):
                for _, results in self.training.train_groups(1, lambda _, number=number: group(number), progress):
                    yield number, results

    settings = in_blocks(make_settings(SMALL))
    resources = Resources(settings, bank=tmp_path / "bank", base_model=tiny, device="cpu", dtype="fp32")
    with closing(resources.open_bank()) as bank:
        others = Backwards(resources.training(settings, bank))
        with resources.trained_by(others):
            revisions = resources.training(settings, bank).personal(resources.personas)
    assert [(made.person, made.number, made.object) for made in revisions] == alone


@pytest.mark.slow
def test_any_number_of_workers_trains_the_same_adapters_whoever_dies(tiny, alone, tmp_path, strike):
    said: list[str] = []
    struck = strike(signal.SIGKILL)
    assert trained(tmp_path / "bank", tiny, Workers(2), said) == alone
    lines = [line for line in said if ") was lost; trained again: @" in line]
    assert lines and lines[0].startswith("training: worker ") and "and 1 other" in lines[0], said
    assert any(f"process {process})" in lines[0] for process in struck)
    assert actors() == [], "no process stays"


@pytest.mark.slow
def test_a_trainer_that_gets_no_further_is_replaced(tiny, alone, tmp_path, strike):
    said: list[str] = []
    struck = strike(signal.SIGSTOP)
    assert trained(tmp_path / "bank", tiny, Workers(2, "", 8.0), said) == alone
    lines = [line for line in said if "got no further within 8 s; trained again: @" in line]
    assert lines and any(f"process {process})" in lines[0] for process in struck), said


@contextmanager
def at_most(size):
    """A limit on what a file may hold stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_a_full_disk_costs_one_group_and_the_same_training_goes_on(tiny, alone, tmp_path, monkeypatch):
    add_all, commits = Bank.add_all, []

    def add_to_a_disk_that_fills(bank, *given):
        commits.append(given)
        if len(commits) < 3:  # a group is stored, and then there is no room
            return add_all(bank, *given)
        with at_most(4096):
            return add_all(bank, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Bank, "add_all", add_to_a_disk_that_fills)
        with pytest.raises((InputError, OSError)) as raised:
            trained(tmp_path / "bank", tiny, Workers(2))
    assert "\n" not in str(raised.value) and actors() == []
    with closing(Bank(tmp_path / "bank")) as bank:
        assert len(bank.revisions(kind=PERSONAL)) == 2 and not verify(bank).problems
    said: list[str] = []
    assert trained(tmp_path / "bank", tiny, Workers(2), said) == alone


def test_who_trains_is_named_shortly():
    from polyphony.simulation.runs.worker_pool import people_in_words

    assert people_in_words(["ada"]) == "@ada" and people_in_words(["ada", "bo"]) == "@ada and 1 other"
    assert people_in_words(["ada", "bo", "cy"]) == "@ada and 2 others"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--workers", "many"), "give a number of processes from 1 to 1024"),
        (("--workers", 2, "--worker-seconds", 0), "--worker-seconds 0.0 must be at least 1"),
        (("--workers", "127.0.0.1:1"), "--workers 127.0.0.1:1: no cluster can be reached there"),
    ],
)
def test_workers_that_cannot_be_had_are_one_line_and_leave_nothing(simulate, tmp_path, arguments, said):
    code, _, lines = simulate("train", "--users", 4, "--bank", tmp_path / "bank", *arguments)
    assert code == 2 and said in lines[-1] and not any("Traceback" in line for line in lines), lines
    assert list(tmp_path.iterdir()) == []


def test_without_ray_the_line_says_what_to_install(simulate, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, lines = simulate("train", "--users", 4, "--bank", tmp_path / "bank", "--workers", 2)
    assert (code, lines[-1]) == (2, "simulate: --workers needs the package ray: pip install 'polyphony-sim[ray]'")
    assert list(tmp_path.iterdir()) == []
