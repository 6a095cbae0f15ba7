"""Runs labelled by the value of a setting in place of their arm."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from polyphony.errors import MetricsError
from polyphony.metrics.measure import RunMeasurements

ARM = "arm"
POLICY = "policy"
# Settings that may differ between the arms of one comparison: an arm's own, and those that change no result.
_FREE = frozenset({POLICY, "slots", "history", "forked_from"})
# Settings that only adapters have: a run without them is not told by these.
_OF_ADAPTERS = (
    "training.schedule.",
    "training.prior",
    "training.shape.",
    "training.init",
    "training.storage",
    "weights",
)
_BASE, _SCENARIO, _ADAPTERS = "base_hash", "scenario", "adapters"
_DIGEST_LETTERS = 64
# What another setting decides too: it is not named beside it.
_DECIDED = {"training.prompt.verbs": "actions", "training.shape.alpha": "training.shape.rank"}


class _Absent:
    """What stands for a setting that a run does not record, or does not use."""

    def __repr__(self) -> str:
        return "not recorded"


_ABSENT, _UNUSED = _Absent(), _Absent()


def labelled(run: RunMeasurements, option: str, paths: Sequence[str]) -> RunMeasurements:
    """The run with the value of a setting as its arm, and its arm among the settings that must be equal.

    Args:
        run: A measured run.
        option: Name of the option that decides the setting.
        paths: Dotted paths of the settings that the option decides; the first one holds the value.

    Raises:
        MetricsError: The run file does not record the setting.
    """
    config = dict(run.config)
    if option != POLICY:  # a run without a model has its policy's name as its arm
        config[ARM] = run.arm
    try:
        value, *_ = [_taken(config, path) for path in paths]
    except KeyError:
        raise MetricsError(f"{run.source}: the run file records no {option!r} that runs could be compared by") from None
    return replace(run, arm=str(value), config=config)


def _taken(config: dict[str, Any], path: str) -> Any:
    """Take what stands at a dotted path out of nested settings; only `config` itself is changed."""
    name, _, rest = path.partition(".")
    if not rest:
        return config.pop(name)
    config[name] = dict(config[name])
    return _taken(config[name], rest)


def differing(runs: Sequence[RunMeasurements]) -> dict[str, list[Any]]:
    """The settings in which runs differ, by dotted path, each with its value in every run.

    A base model that a run does not name is no difference: a run without a model has none. Neither are the settings of
    adapters in a run that has none.
    """
    flat = [settings_by_path(run.config) for run in runs]
    paths = sorted(set().union(*flat)) if flat else []
    values = {
        path: [
            _UNUSED if run.bank_digest is None and path.startswith(_OF_ADAPTERS) else settings.get(path, _ABSENT)
            for run, settings in zip(runs, flat, strict=True)
        ]
        for path in paths if path not in _FREE
    }  # fmt: skip
    return {path: own for path, own in values.items() if _several(_named(own) if path == _BASE else _used(own))}


def different_pair(runs: Sequence[RunMeasurements]) -> tuple[int, int, str] | None:
    """Places of two runs that differ in a setting, and the setting with both values; None where all are alike."""
    for path, settings in differing(runs).items():
        is_free = (_UNUSED, _ABSENT, None) if path == _BASE else (_UNUSED,)
        first, *others = [place for place, value in enumerate(settings) if value not in is_free]
        other = next(place for place in others if settings[place] != settings[first])
        return first, other, f"{path} ({settings[other]!r} and {settings[first]!r})"
    return None


def _several(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _used(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not _UNUSED]


def _named(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value not in (_ABSENT, _UNUSED, None)]


def labelled_by_difference(runs: Sequence[RunMeasurements]) -> list[RunMeasurements]:
    """Runs with all in which they differ as their arm; as they are, where that is the arm alone.

    Two runs with chronological and random feeds become the arms ``recommender=chronological`` and
    ``recommender=random``; where their arms differ, too, ``lora, recommender=random``. The policy counts where runs of
    one arm differ in it, and so do the adapters where runs of one arm and size do. A setting that some runs do not
    record, as those of earlier versions, groups nothing by that alone.
    """
    settings = {
        path: own for path, own in differing(runs).items()
        if _several([value for value in own if value not in (_ABSENT, _UNUSED)])
    }  # fmt: skip
    shown = {path: own for path, own in settings.items() if _DECIDED.get(path) not in settings}
    policies = [run.config.get(POLICY) for run in runs]
    if _differ_within([run.arm for run in runs], policies):
        shown[POLICY] = policies
    adapters = [run.bank_digest for run in runs]
    if _differ_within([(run.arm, run.agents) for run in runs], adapters):
        shown[_ADAPTERS] = adapters
    if not shown:
        return list(runs)
    has_arms = len({run.arm for run in runs}) > 1
    names, texts = _short_names(shown), {path: _texts(own) for path, own in shown.items()}
    labelled_runs = []
    for place, run in enumerate(runs):
        parts = [run.arm] if has_arms else []
        parts += [f"{names[path]}={texts[path][place]}" for path in shown if shown[path][place] is not _UNUSED]
        labelled_runs.append(replace(run, arm=", ".join(parts), config=_without(run.config, settings)))
    return labelled_runs


def _differ_within(groups: Sequence[Any], values: Sequence[Any]) -> bool:
    """Whether two values of one group differ."""
    return any(
        _several(
            _named([value for group_of_value, value in zip(groups, values, strict=True) if group_of_value == group])
        )
        for group in set(groups)
    )


def settings_by_path(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings by dotted path; a scenario is one setting."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and above + name != _SCENARIO:
            flat |= settings_by_path(value, f"{above}{name}.")
        else:
            flat[above + name] = value
    return flat


def _short_names(paths: Mapping[str, Any]) -> dict[str, str]:
    """The last part of each path, or the last two where the last alone would name several."""
    counts = Counter(path.rpartition(".")[2] for path in paths)
    return {
        path: path.rpartition(".")[2] if counts[path.rpartition(".")[2]] == 1 else ".".join(path.split(".")[-2:])
        for path in paths
    }


def _texts(values: Sequence[Any]) -> list[str]:
    """Each value in words: what is no plain value is ``none`` where it is empty, else numbered as it comes."""
    numbers: dict[str, int] = {}
    texts = []
    for value in values:
        if not isinstance(value, Mapping | list):
            text = str(value)
            texts.append("none" if value in ("", None) else text[:12] if len(text) == _DIGEST_LETTERS else text)
        elif not any(value.values() if isinstance(value, Mapping) else value):
            texts.append("none")
        else:
            texts.append(f"#{numbers.setdefault(json.dumps(value, sort_keys=True, default=str), len(numbers) + 1)}")
    return texts


def _without(config: Mapping[str, Any], paths: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those at some paths."""
    left = dict(config)
    for path in paths:
        try:
            _taken(left, path)
        except (KeyError, TypeError):  # this run does not record it
            continue
    return left
