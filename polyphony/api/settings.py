"""A run's options by name, checked when they are put together."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from polyphony.errors import InputError
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import OPTIONS, Value
from polyphony.simulation.runs.settings import RunSettings, make_settings


class Settings(Mapping[str, Value]):
    """Options of a run; names, defaults and ranges are those of ``simulate run`` (docs/options.md).

    ``Settings(agents=64, recommender="random")`` holds every option, those that are not given with their defaults. It
    is a mapping and cannot be changed; `replace` gives another one.
    """

    def __init__(self, **options: Value | Path) -> None:
        """Check the options, each alone and all together.

        Raises:
            InputError: An option does not exist, is out of range, or does not go together with another.
        """
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise InputError(f"{unknown[0]}: no such option; options are {', '.join(OPTIONS)}")
        texts = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        self._values = {
            name: option.parsed(texts[name]) if name in texts else option.default for name, option in OPTIONS.items()
        }
        self._settings = make_settings(self._values)

    def replace(self, **options: Value | Path) -> "Settings":
        """The same options but for those that are given.

        Raises:
            InputError: As the constructor.
        """
        return Settings(**{**self._values, **options})

    @property
    def run_settings(self) -> RunSettings:
        """The same, as the simulation takes them."""
        return self._settings

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.items() if value != OPTIONS[name].default}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def divided(options: Mapping[str, Value | Path | None]) -> tuple[Machine, dict[str, Value]]:
    """Options of a run apart from those that say where it finds what it needs: bank, base_model, device, dtype."""
    places = {field.name for field in fields(Machine)}
    given: dict[str, Any] = {name: value for name, value in options.items() if name in places}
    for name in {"bank", "base_model"} & set(given):
        given[name] = None if given[name] is None else Path(given[name])
    own = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    rest = {name: value for name, value in own.items() if name not in places and value is not None}
    return Machine(**{"bank": Path("bank"), **given}), rest
