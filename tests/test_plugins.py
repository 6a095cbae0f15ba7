"""Plug-ins and the registries they add to."""

import os
import sys

import pytest

from polyphony.errors import InputError
from polyphony.plugins import failing_as, load_plugins
from polyphony.registry import Registry


def test_a_file_is_run_once_and_recorded_by_its_digest(tmp_path):
    source = tmp_path / "mine.py"
    source.write_text("import os\nos.environ['PLUGIN_RUNS'] = os.environ.get('PLUGIN_RUNS', '') + 'x'\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLUGIN_RUNS", "")
        first, again = load_plugins([str(source), str(source)])
        assert os.environ["PLUGIN_RUNS"] == "x"
    assert first == again and first.name == "mine.py" and len(first.sha256) == 64


@pytest.mark.parametrize(
    "content, said",
    [
        ("1 / 0\n", "ZeroDivisionError in line 1: division by zero"),
        ("\nraise KeyError\n", "KeyError in line 2"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_a_file_that_fails_is_one_line(tmp_path, content, said):
    source = tmp_path / "mine.py"
    source.write_text(content)
    before = set(sys.modules)
    with pytest.raises(InputError, match=said):
        load_plugins([str(source)])
    assert not {name for name in set(sys.modules) - before if name.startswith("polyphony_plugin")}


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.py: cannot be read"):
        load_plugins([str(tmp_path / "absent.py")])
    with pytest.raises(InputError, match="no_such_module: no such Python module"):
        load_plugins(["no_such_module"])
    with pytest.raises(InputError, match="itertools: a module without a source file of its own"):
        load_plugins(["itertools"])


def test_a_registry_takes_each_name_once():
    registry = Registry[int]("recommender")
    registry.register("mine", 1)
    assert registry.get("mine") == 1 and registry.names() == ["mine"] and "mine" in registry
    with pytest.raises(InputError, match="exists already"):
        registry.register("mine", 2)
    with pytest.raises(InputError, match="lower-case words"):
        registry.register("My Own", 2)
    with pytest.raises(InputError, match="--recommender 'other' is not one of mine"):
        registry.get("other", "--recommender")


def test_an_exception_of_a_users_part_is_one_line_and_one_of_ours_passes():
    def mine():
        raise ZeroDivisionError

    with (
        pytest.raises(InputError, match=r"recommender 'mine': ZeroDivisionError in line \d+"),
        failing_as("recommender 'mine'", mine),
    ):
        mine()
    with pytest.raises(ZeroDivisionError), failing_as("recommender 'random'", load_plugins):
        mine()
    with pytest.raises(KeyboardInterrupt), failing_as("recommender 'mine'", mine):
        raise KeyboardInterrupt


def test_a_changed_file_takes_the_place_of_what_it_had_registered(tmp_path):
    from polyphony.simulation.feed.recommenders.recommender import RECOMMENDERS

    source = tmp_path / "mine.py"
    text = "import polyphony\n@polyphony.recommender('plugin-changed')\nclass Mine:\n    number = {}\n"
    for number in (1, 2):
        source.write_text(text.format(number))
        load_plugins([str(source)])
        assert RECOMMENDERS.get("plugin-changed").number == number
    (tmp_path / "other.py").write_text(text.format(3))
    with pytest.raises(InputError, match="exists already"):
        load_plugins([str(tmp_path / "other.py")])
