"""Shared fixtures."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from polyphony.personas.people.persona import Persona
from polyphony.simulation.runs.loading import Loader, SharedLoader, loading_with

REAL_POSTS_TOOL = Path(__file__).resolve().parents[2] / "shared" / "tools" / "real_posts.py"
BUILD_SECONDS = 300
# A file's tests stay in one process: what takes minutes and begins late is waited for with the other core idle.
LONGEST_FILES = (
    "test_evaluation.py",
    "test_study.py",
    "test_app_browser.py",
    "test_continuation.py",
    "test_run_file.py",
)

# Tests that run beside others take their share of the cores; read when torch is loaded, here and in child processes.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files that take longest begin first, the others in their order."""
    place = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def real_posts() -> Path:
    """Posts of 202 mailing-list authors, built once into the user's cache; they never enter the repository."""
    cache = Path(os.environ.get("POLYPHONY_CACHE") or Path.home() / ".cache" / "polyphony")
    path = cache / "real_posts.jsonl"
    if path.is_file():
        return path
    if not REAL_POSTS_TOOL.is_file():
        pytest.skip("the real posts cannot be built: shared/tools/real_posts.py is not beside the checkout")
    if shutil.which("npm") is None:
        pytest.skip("the real posts cannot be built: npm is not installed")
    part = path.with_suffix(f".{os.getpid()}")  # tests in another process may be building it as well
    command = [sys.executable, str(REAL_POSTS_TOOL), str(part)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the real posts cannot be built: the tool took longer than {BUILD_SECONDS} s")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"the real posts cannot be built: {reason}")
    part.replace(path)
    return path


def hear_interrupts() -> None:
    """Let a child process hear SIGINT: a shell starts its background jobs, and so their children, deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def loader():
    """All runs of one process share a reading of the built-in town and a loading of each embedded base model."""
    shared = SharedLoader()
    with loading_with(shared):
        yield shared


def briefly(persona: Persona, acts: int) -> Persona:
    """The persona with this many acts of validation and held-out each: looking at them is most of a short training."""
    kept = persona.train + persona.validation[:acts] + persona.held_out[:acts]
    return replace(persona, acts=kept, validation_end=persona.train_end + acts)


class ShortTexts(Loader):
    """Loads what another loader loads, with prompts that leave room for a few tokens of text."""

    def __init__(self, loader):
        self.population, self.base_model, self._loader = loader.population, loader.base_model, loader

    def prompt_kit(self, base, config):
        return self._loader.prompt_kit(base, replace(config, text_tokens=8))


@pytest.fixture
def short_texts(loader):
    """Agents write a few tokens: where the words do not matter, decoding them is most of the time."""
    with loading_with(ShortTexts(loader)):
        yield


def embedded_base(loader: Loader, dtype: str):
    """The real embedded base model on the CPU."""
    from polyphony.adapters.model.base_model import EMBEDDED_INSTALL, EMBEDDED_PACKAGE

    if importlib.util.find_spec(EMBEDDED_PACKAGE) is None:
        pytest.skip(f"the embedded base model is not installed: {EMBEDDED_INSTALL}")
    return loader.base_model(None, device="cpu", dtype=dtype)


@pytest.fixture(scope="session")
def base(loader):
    """The real embedded base model in full precision: what is exact is tested there."""
    return embedded_base(loader, "fp32")


@pytest.fixture(scope="session")
def short_directory(loader, tmp_path_factory):
    """A Hugging Face directory: the embedded model with its first 6 of 30 blocks, and its tokenizer."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from polyphony.adapters.model.base_model import embedded_directory

    folder = tmp_path_factory.mktemp("models") / "short"
    tokenizer = embedded_base(loader, "fp32").tokenizer
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        short = AutoModelForCausalLM.from_pretrained(
            embedded_directory(), num_hidden_layers=6, dtype="auto", local_files_only=True
        )
    finally:
        logging.set_verbosity(verbosity)
    short.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def short_base(loader, short_directory):
    """The lowest blocks of the real base model, in full precision."""
    return loader.base_model(short_directory, device="cpu", dtype="fp32")


@pytest.fixture(scope="session")
def native_base(loader):
    """The same as commands load it: in bf16 where the processor computes in it, which takes less than half the time."""
    return embedded_base(loader, "auto")


@pytest.fixture(scope="session")
def kit(loader, base):
    """Prompt builder and act scorer of the base model."""
    from polyphony.adapters.prompting.prompt_config import PromptConfig

    return loader.prompt_kit(base, PromptConfig())


@pytest.fixture(scope="session")
def town(loader):
    """The built-in population."""
    return loader.population("town")


@pytest.fixture(scope="session")
def learners(kit, town):
    """Three people with unequal numbers of short examples."""
    from training_factory import three_learners

    return three_learners(kit, town)


@pytest.fixture(scope="session")
def together(base, kit, learners):
    """Those three, trained together."""
    from training_factory import train

    return train(base, kit, learners)


@pytest.fixture
def bank(tmp_path):
    """An empty bank."""
    from polyphony.adapters.bank.bank import Bank

    with closing(Bank(tmp_path / "bank", create=True)) as opened:
        yield opened


@pytest.fixture
def banks(tmp_path):
    """Two empty banks."""
    from polyphony.adapters.bank.bank import Bank

    with closing(Bank(tmp_path / "one", create=True)) as one, closing(Bank(tmp_path / "two", create=True)) as two:
        yield one, two


@pytest.fixture
def drawn(monkeypatch):
    """Draws a page of the dashboard of a folder, without a browser; `query` is the address's."""
    from streamlit.testing.v1 import AppTest

    from polyphony.app.server import launch

    def draw(path, page="Overview", *places, query=None):
        monkeypatch.setattr(sys, "argv", ["main.py", str(path), *map(str, places)])
        test = AppTest.from_file(str(Path(launch.__file__).with_name("main.py")), default_timeout=120)
        if query is None:
            test.session_state["page"] = page
        test.query_params.update(query or {})
        test.run()
        assert not test.exception
        return test

    return draw


@pytest.fixture(autouse=True)
def registries():
    """What a test registers is forgotten after it, and so are the plug-ins that it loads."""
    from polyphony.metrics.core.registry import REGISTRY
    from polyphony.simulation.feed.recommenders.recommender import RECOMMENDERS
    from polyphony.simulation.feed.suggesters.suggester import SUGGESTERS
    from polyphony.simulation.policies.registry import POLICIES

    before = set(sys.modules)
    with REGISTRY.restored(), RECOMMENDERS.restored(), SUGGESTERS.restored(), POLICIES.restored():
        yield
    for name in set(sys.modules) - before:
        if name.startswith("polyphony_plugin"):
            del sys.modules[name]


@pytest.fixture
def simulate(capsys):
    """Run the command in this process: (exit code, stdout, stderr lines)."""
    from polyphony.simulation.cli.main import main

    def call(*arguments):
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, [line for line in err.splitlines() if line.strip()]

    return call
