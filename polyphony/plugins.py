"""Plug-ins: a user's own recommenders, policies and measurements, loaded where a command or a script asks for them.

A plug-in is a Python module, or a file that ends in ``.py``. Loading it runs its code, whose decorators (see the public
API) add to the registries. Nothing in a run file or a study makes Polyphony load one: the user names it each time.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

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
    if isinstance(sources, str):
        raise InputError(f"plugins: {sources!r} is one text; give a list, as [{sources!r}]")
    return tuple(_load_file(Path(source)) if source.endswith(".py") else _load_module(source) for source in sources)


@cache
def _folders_of_others() -> tuple[Path, ...]:
    """What a user has not written: the package, whose rooms are links in a checkout, and what Python has installed."""
    package = Path(__file__).resolve().parent
    return (
        package,
        *(entry.resolve() for entry in package.iterdir() if entry.is_symlink()),
        *(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")),
    )


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
    except (Exception, SystemExit) as error:
        if getattr(part, "__module__", "").split(".")[0] == "polyphony":
            raise
        raise InputError(f"{what}: {_reason(error)}") from error


def _load_file(path: Path) -> Plugin:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"--plugin {path}: cannot be read ({error.strerror})") from error
    digest = hashlib.sha256(content).hexdigest()
    name = f"polyphony_plugin_{digest}"
    if name not in sys.modules:
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(path)
        try:
            with redirect_stdout(sys.stderr):  # a plug-in that prints does not spoil --json
                # What runs are the bytes whose digest is recorded, never bytecode of an earlier version.
                exec(compile(content, str(path), "exec"), module.__dict__)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise InputError(f"--plugin {path}: {_reason(error)}") from error
    return Plugin(path.name, digest)


def _load_module(name: str) -> Plugin:
    spec = None
    try:
        with suppress(ModuleNotFoundError):  # of the package that the name begins with
            spec = find_spec(name)
        if spec is None:
            raise InputError(
                f"--plugin {name}: no such Python module; give an installed module or a file ending in .py"
            )
        if spec.origin is None or not spec.origin.endswith(".py"):
            raise InputError(
                f"--plugin {name}: a module without a source file of its own; give a module or file of your plug-in"
            )
        with redirect_stdout(sys.stderr):
            import_module(name)
        return Plugin(name, hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest())
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"--plugin {name}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What went wrong, and in which line of the user's own code, where it is there that it went wrong."""
    kind, text = type(error).__name__, str(error)
    if isinstance(error, SyntaxError):
        line, text = error.lineno, error.msg
    else:
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
        line = lines[-1] if lines else None
    where = f"{kind} in line {line}" if line is not None else kind
    return f"{where}: {text}" if text else where


def _is_ours(file: str) -> bool:
    """Whether a file belongs to Polyphony, to Python or to an installed library."""
    path = Path(file)
    return file.startswith("<frozen") or any(path.resolve().is_relative_to(other) for other in _folders_of_others())
