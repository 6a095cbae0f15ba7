"""Plug-ins: a user's own recommenders, policies and measurements, loaded where a command or a script asks for them.

A plug-in is a Python module, or a file that ends in ``.py``. Loading it runs its code, whose decorators (see the public
API) add to the registries. Nothing in a run file or a study makes Polyphony load one: the user names it each time.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from polyphony.errors import InputError, PolyphonyError


@dataclass(frozen=True)
class Plugin:
    """A plug-in that is loaded.

    Attributes:
        name: The module's name, or the file's name without its folder: no path of the machine goes into a run.
        sha256: Digest of its source.
    """

    name: str
    sha256: str


def load_plugins(sources: Sequence[str]) -> tuple[Plugin, ...]:
    """Load modules or files; one that this process has loaded already is not run again.

    Raises:
        InputError: One is not there, is not Python, or fails while it is loaded; the text names it.
    """
    return tuple(_load_file(Path(source)) if source.endswith(".py") else _load_module(source) for source in sources)


@contextmanager
def failing_as(what: str, part: object) -> Iterator[None]:
    """Within the block a user's own part runs: an exception of its code becomes one line that names it.

    Args:
        what: What the part is called, as ``recommender 'mine'``.
        part: The part, its class or its function. Exceptions of Polyphony's own parts are faults of ours, and pass.

    Raises:
        InputError: The code of the part raised something.
    """
    try:
        yield
    except PolyphonyError:
        raise
    except Exception as error:
        if getattr(part, "__module__", "").split(".")[0] == "polyphony":
            raise
        raise InputError(f"{what}: {_reason(error)}") from error


def _load_file(path: Path) -> Plugin:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"--plugin {path}: cannot be read ({error.strerror})") from error
    name = f"polyphony_plugin_{digest}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise InputError(f"--plugin {path}: not a Python file")
        module = sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise InputError(f"--plugin {path}: {_reason(error)}") from error
    return Plugin(path.name, digest)


def _load_module(name: str) -> Plugin:
    try:
        spec = find_spec(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            raise InputError(
                f"--plugin {name}: no such Python module; give an installed module or a file ending in .py"
            )
        import_module(name)
        return Plugin(name, hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest())
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--plugin {name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What went wrong, and in which line of the plug-in."""
    trace, line = error.__traceback__, None
    while trace is not None:
        line, trace = trace.tb_lineno, trace.tb_next
    return f"{type(error).__name__} in line {line}: {error}" if str(error) else f"{type(error).__name__} in line {line}"
