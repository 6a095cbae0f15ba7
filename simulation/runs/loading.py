"""Loading populations, base models and prompts, each time anew or once for many runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from polyphony.personas.people.split import USUAL_SPLIT
from polyphony.personas.population import Population, load_population
from polyphony.personas.readers.dates import UTC_NAME
from polyphony.personas.town.numbered import town_number

# What loads a model brings torch with it: commands that read people alone do not wait for it.
if TYPE_CHECKING:
    from polyphony.adapters.model.base_model import BaseModel
    from polyphony.adapters.prompting.prompt_config import PromptConfig
    from polyphony.adapters.prompting.prompt_kit import PromptKit


class Loader:
    """Loads what runs need, each time that it is asked."""

    def population(
        self,
        source: str,
        columns: str = "",
        *,
        timezone: str = UTC_NAME,
        include_private: bool = False,
        split: str = USUAL_SPLIT,
    ) -> Population:
        """Load a population, see `personas.population.load_population`."""
        return load_population(source, columns=columns, timezone=timezone, include_private=include_private, split=split)

    def base_model(
        self, directory: Path | None, *, device: str, dtype: str, say: Callable[[str], None] = lambda line: None
    ) -> "BaseModel":
        """Load a base model, see `adapters.model.base_model.load_base_model`."""
        from polyphony.adapters.model.base_model import load_base_model

        return load_base_model(directory, device=device, dtype=dtype, say=say)

    def prompt_kit(self, base: "BaseModel", config: "PromptConfig") -> "PromptKit":
        """Make the prompts of a base model, see `adapters.prompting.prompt_kit.make_prompt_kit`."""
        from polyphony.adapters.prompting.prompt_kit import make_prompt_kit

        return make_prompt_kit(base, config)


class SharedLoader(Loader):
    """Loads each built-in population and the embedded base model once, and calibrates each kind of prompts once.

    Nothing changes them: adapters hang on a base model only while a run uses it. Files of posts and directories of
    models can change, and are read each time.
    """

    def __init__(self) -> None:
        """Begin with nothing loaded."""
        self._towns: dict[tuple[int, str], Population] = {}
        self._bases: dict[tuple[str, str], BaseModel] = {}
        self._kits: dict[tuple[str, str, PromptConfig], PromptKit] = {}

    def population(
        self,
        source: str,
        columns: str = "",
        *,
        timezone: str = UTC_NAME,
        include_private: bool = False,
        split: str = USUAL_SPLIT,
    ) -> Population:
        """Load a population; a town, in which everything is public, only the first time."""
        number = town_number(source)
        if number is None:
            return super().population(source, columns, timezone=timezone, include_private=include_private, split=split)
        if (number, split) not in self._towns:
            self._towns[number, split] = super().population(source, split=split)
        return self._towns[number, split]

    def base_model(
        self, directory: Path | None, *, device: str, dtype: str, say: Callable[[str], None] = lambda line: None
    ) -> "BaseModel":
        """Load a base model; the embedded one only the first time for a device and a compute type."""
        if directory is not None:
            return super().base_model(directory, device=device, dtype=dtype, say=say)
        from polyphony.adapters.model.base_model import compute_type, pick_device

        place = pick_device(device)
        key = place.type, compute_type(place, dtype)
        if key not in self._bases:
            self._bases[key] = super().base_model(None, device=key[0], dtype=key[1], say=say)
        return self._bases[key]

    def prompt_kit(self, base: "BaseModel", config: "PromptConfig") -> "PromptKit":
        """Make the prompts of a base model; those of the embedded one only the first time."""
        place = base.device.type, base.dtype
        if self._bases.get(place) is not base:
            return super().prompt_kit(base, config)
        if (*place, config) not in self._kits:
            self._kits[*place, config] = super().prompt_kit(base, config)
        return self._kits[*place, config]


_LOADER: ContextVar[Loader] = ContextVar("loader", default=Loader())  # noqa: B039 - it holds nothing that changes


def current_loader() -> Loader:
    """The loader that runs beginning now use."""
    return _LOADER.get()


@contextmanager
def loading_with(loader: Loader) -> Iterator[None]:
    """Have the runs that begin inside the block load through `loader`, those of the command line included.

    With a `SharedLoader`, a script that does many runs in one process saves seconds each time. What it has loaded stays
    in memory for as long as it is referred to.
    """
    token = _LOADER.set(loader)
    try:
        yield
    finally:
        _LOADER.reset(token)
