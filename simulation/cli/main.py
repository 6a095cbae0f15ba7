"""The `simulate` command."""

import errno
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from types import FrameType
from typing import Annotated, NoReturn

import typer

from polyphony.database_url import without_passwords
from polyphony.errors import PolyphonyError
from polyphony.simulation.cli import reading, runs
from polyphony.simulation.cli.calibrate import calibrate
from polyphony.simulation.cli.evaluation import bank_app
from polyphony.simulation.cli.export import export
from polyphony.simulation.cli.people import personas
from polyphony.simulation.cli.printing import stderr
from polyphony.simulation.cli.raters import raters
from polyphony.simulation.cli.reinforce import reinforce
from polyphony.simulation.cli.report import report
from polyphony.simulation.cli.serve import serve
from polyphony.simulation.cli.study import study
from polyphony.simulation.cli.sweep import sweep
from polyphony.simulation.cli.train import train
from polyphony.simulation.cli.vote import vote

app = typer.Typer(
    help="Agent-based social simulation in which every agent owns its own trained weights.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
for command in (
    runs.run, study, runs.fork, runs.interview, train, reinforce, sweep, vote,
    personas, reading.metrics, reading.digest, reading.compare, report, export, serve, calibrate, raters,
):  # fmt: skip
    app.command()(command)
app.command("app")(reading.dashboard)
app.add_typer(bank_app, name="bank")

# What to do about an interrupt, and about faults of files, by what the command can do.
CONTINUES = dict.fromkeys(("run", "fork"), "with --resume, or without it where no run file exists yet")
AGAIN = "it goes on where it stopped, or begins anew"
DISK_REMEDIES = {
    errno.ENOSPC: "free or choose another place",
    errno.EDQUOT: "free or choose another place",
    errno.EFBIG: "free or choose another place",
    errno.EACCES: "check its permissions, or choose another place",
    errno.EPERM: "check its permissions, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "check the path, then give the command again",
}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"polyphony {metadata.version('polyphony-sim')}")
        raise typer.Exit


@dataclass
class Session:
    """What the options of `simulate` itself say of one call.

    Attributes:
        debug: Whether errors are shown with the traceback that led to them.
        is_interrupted: Whether Ctrl-C or a termination has come.
    """

    debug: bool = False
    is_interrupted: bool = False

    def handle_interrupts(self) -> None:
        """Note each interrupt before it is raised: a library under which it comes may raise another error for it."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            self.is_interrupted = True
            signal.default_int_handler(number, frame)

        if callable(signal.getsignal(signal.SIGINT)):  # where a shell has its jobs ignore it, it stays ignored
            signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, interrupt)


@app.callback()
def _before_every_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, too.")] = False,
) -> None:
    """Agent-based social simulation in which every agent owns its own trained weights."""
    context.obj.debug = debug


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every foreseen failure is one line on stderr.

    Exit codes: 0 done, 2 the input is wrong, 3 interrupted but resumable, 1 our fault.
    """
    words = sys.argv[1:] if arguments is None else arguments
    session = Session()
    session.handle_interrupts()
    try:
        code = app(arguments, standalone_mode=False, obj=session)
    except typer.TyperException as error:
        _refuse_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        _fail(_interrupted(words), 3)
    except PolyphonyError as error:
        if session.debug:
            traceback.print_exception(error)
        _fail(str(error), 2)
    except OSError as error:
        remedy = DISK_REMEDIES.get(error.errno or 0, "check the place, or choose another")
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; {remedy}", 2)
    except Exception as error:
        if session.is_interrupted:
            _fail(_interrupted(words), 3)
        if _out_of_memory(error):
            _fail("out of memory; fewer agents at once, a smaller base model or more memory would do", 2)
        error.add_note("simulate: this is a fault of ours; please report it, with the command and the lines above")
        raise
    if code == 128 + signal.SIGINT:  # typer turns an interrupt into the shell's code for it
        _fail(_interrupted(words), 3)
    if isinstance(code, int) and code:
        sys.exit(code)


def _interrupted(words: Sequence[str]) -> str:
    """The line of an interrupt, with what the interrupted command can do."""
    command = next((word for word in words if not word.startswith("-")), "")
    return f"interrupted; give the same command again: {CONTINUES.get(command, AGAIN)}"


def _refuse_usage(error: typer.TyperException) -> NoReturn:
    """Say what is wrong with the command itself; where nothing was asked, its help is printed already."""
    line, context = error.format_message().strip().rstrip("."), getattr(error, "ctx", None)
    if not line:
        sys.exit(2)
    _fail(f"{line}; see `{context.command_path} --help`" if context else line, 2)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out in work that no smaller batch can save."""
    if not isinstance(error, (MemoryError, RuntimeError)):
        return False
    from polyphony.adapters.model.memory import out_of_memory

    return out_of_memory(error)


def _fail(line: str, code: int) -> NoReturn:
    stderr().print(f"simulate: {without_passwords(' '.join(line.split()))}", markup=False)
    sys.exit(code)
