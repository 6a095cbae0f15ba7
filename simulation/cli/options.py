"""Options that several commands share: those of the table of a run's options, the machine's, and plug-ins."""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from polyphony.database_url import is_url, run_name
from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import OPTIONS, Option, Value

MACHINE = "Machine and files"
MOST_NUMBER = 2**62  # what SQLite can count to
# Most bytes of a name and of a path that common file systems take.
MOST_NAME, MOST_PATH = 255, 4095

Command = Callable[..., None]
Chosen = dict[str, Value]
"""Values of options of the table by name, with defaults or only those that were given."""


def help_of(option: Option) -> str:
    """What help says of an option: what it decides, and which values it takes."""
    sentences = [option.help]
    if option.choices:
        listed = ", ".join(option.choices[:-1])
        plugin_note = ", or a name that a plug-in adds" if option.by_plugin else ""
        sentences.append(f"One of {listed} or {option.choices[-1]}{plugin_note}.")
    if option.range:
        unit = f" {option.unit}" if option.unit else ""
        sentences.append(f"{option.range_in_help}{unit}.")
    return " ".join(sentences)


def in_range(low: float, high: float, help: str) -> dict[str, Any]:
    """How a number that is no option of a run is checked, and what help says of it.

    Args:
        low: Smallest number.
        high: Largest number.
        help: What the number is, in sentences.

    Returns:
        Keywords of ``typer.Option`` and ``typer.Argument``.
    """
    option = Option(name="", default=low, help=help, group="", setting="", low=low, high=high)

    def check(parameter: typer.CallbackParam, value: float | None) -> float | None:
        if value is not None and not option.holds(value):
            raise InputError(f"{max(parameter.opts, key=len)} {value} must be {option.range}")
        return value

    return {"callback": check, "help": help_of(option)}


def path(text: str | Path) -> Path:
    """A file or folder that an option names.

    Raises:
        InputError: It is empty, too long, or the URL of a database: its password would stand in the name of a file.
    """
    if not str(text).strip():
        raise InputError("a path is empty; give one, or leave the option out")
    if is_url(str(text)):
        raise InputError(f"{run_name(str(text))}: is a database; a path is needed here")
    if any(len(os.fsencode(part)) > MOST_NAME for part in Path(text).parts) or len(os.fsencode(text)) > MOST_PATH:
        raise InputError(f"{quoted(str(text))}: too long for the name of a file; choose a shorter one")
    return Path(text)


BankOption = Annotated[Path, typer.Option(help="Directory of the adapter bank.", rich_help_panel=MACHINE, parser=path)]
BaseOption = Annotated[
    Path | None,
    typer.Option(
        help="Directory of a local Hugging Face causal language model.", rich_help_panel=MACHINE, parser=path,
        show_default="the embedded SmolLM2-135M-Instruct",
    ),
]  # fmt: skip
DeviceOption = Annotated[
    str, typer.Option(help="Where the base model computes: auto, cpu or cuda.", rich_help_panel=MACHINE)
]
DtypeOption = Annotated[
    str, typer.Option(help="Number format in which it computes: auto, fp32 or bf16.", rich_help_panel=MACHINE)
]
PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", help="Python module or .py file with recommenders, policies or measurements of your own. May be "
        "repeated. Its code is executed.", rich_help_panel=MACHINE, metavar="MODULE_OR_FILE",
    ),
]  # fmt: skip
WorkersOption = Annotated[
    str | None,
    typer.Option(
        help="Processes that share the work: from 1 to 1,024 on this machine, or those of a Ray cluster at an address, "
        "for example ray://HOST:10001. See docs/workers.md.", rich_help_panel=MACHINE,
        metavar="NUMBER_OR_ADDRESS", show_default="this process",
    ),
]  # fmt: skip
WorkerSecondsOption = Annotated[
    float,
    typer.Option(
        rich_help_panel=MACHINE,
        **in_range(
            1, 86_400, "With --workers: seconds without progress after which the work of a worker goes to another."
        ),
    ),
]  # fmt: skip
UsersOption = Annotated[int, typer.Option(**in_range(1, 1_000_000, "Number of people who get an adapter."))]
PopulationOption = Annotated[str, typer.Option(help=OPTIONS["population"].help)]
ColumnsOption = Annotated[
    str, typer.Option(help=OPTIONS["columns"].help, show_default=OPTIONS["columns"].empty, metavar="OURS=THEIRS,…")
]
TimezoneOption = Annotated[str, typer.Option(help=OPTIONS["timezone"].help, metavar="ZONE")]
PrivateOption = Annotated[bool, typer.Option(help=OPTIONS["include_private"].help)]
RunArgument = Annotated[str, typer.Argument(help="A run file, or the URL of a run.")]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print the work, and the time, memory and disk that it will take. Nothing is written."
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Print all figures in place of the ten headlines.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]


def takes_options(
    options: Iterable[Option], absent: Callable[[Option], str] | None = None
) -> Callable[[Command], Command]:
    """Give a command flags for options of the table; it gets their values as its argument `chosen`.

    Args:
        options: Which ones.
        absent: Shows in help what an option that is not given means; `chosen` holds given options alone then. None
            for the defaults of the table, which `chosen` holds then.
    """
    chosen = tuple(options)

    def collected(given: dict[str, Any]) -> Chosen:
        return {name: value for name, value in given.items() if value is not None}

    return lambda command: _expanded(
        command, "chosen", [_flag(option, absent and absent(option)) for option in chosen], collected
    )


def takes_machine(command: Command) -> Command:
    """Give a command the options of the machine and the bank; it gets them as its argument `machine`."""
    parameters = [_keyword("bank", BankOption, Path("bank")), *_base_model()]
    return _expanded(command, "machine", parameters, lambda given: Machine(**given))


def takes_base_model(command: Command) -> Command:
    """Give a command without a bank the options of the base model and where it computes, as its argument `machine`."""
    return _expanded(command, "machine", _base_model(), lambda given: Machine(bank=Path("bank"), **given))


def _base_model() -> list[inspect.Parameter]:
    return [
        _keyword("base_model", BaseOption, None), _keyword("device", DeviceOption, "auto"),
        _keyword("dtype", DtypeOption, "auto"),
    ]  # fmt: skip


def _flag(option: Option, absent: str | None) -> inspect.Parameter:
    kind: Any = type(option.default)
    shown: str | bool = absent or (option.empty if option.default == "" else True)
    information = typer.Option(help=help_of(option), rich_help_panel=option.group, show_default=shown)
    if absent is None:
        return _keyword(option.name, Annotated[kind, information], option.default)
    return _keyword(option.name, Annotated[kind | None, information], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _is_of_machine(parameter: inspect.Parameter) -> bool:
    """Whether help shows a parameter last."""
    metadata = getattr(parameter.annotation, "__metadata__", ())
    return any(getattr(information, "rich_help_panel", None) == MACHINE for information in metadata)


def _expanded(
    command: Command, argument: str, parameters: Sequence[inspect.Parameter], collect: Callable[[dict[str, Any]], Any]
) -> Command:
    """A command with parameters instead of one argument, which is made of them."""
    parameters_of_command = [
        parameter for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name != argument
    ]  # fmt: skip

    @wraps(command)
    def expanded(**given: Any) -> None:
        collected = {parameter.name: given.pop(parameter.name) for parameter in parameters}
        command(**given, **{argument: collect(collected)})

    del expanded.__wrapped__
    ordered = sorted([*parameters_of_command, *parameters], key=_is_of_machine)
    expanded.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return expanded
