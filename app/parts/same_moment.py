"""Texts of the same agent at the same timestep in several arms, side by side."""

from collections.abc import Mapping

from polyphony.app.parts.escape import markup
from polyphony.app.parts.page_parts import arm_name, block, heading, note
from polyphony.metrics.runfile.rundata import RunData, clock_of
from polyphony.metrics.studies.sample_texts import SampleText, sample_moments

_MOST_MOMENTS = 4
_MOST_CHARACTERS = 600


def same_moment(runs: Mapping[str, RunData], colours: Mapping[str, str]) -> None:
    """Draw a few moments at which an agent wrote in several arms; nothing without two runs of one seed.

    Args:
        runs: One run of each arm; those with other people, another seed, size or clock than the first are left out.
        colours: A colour for each arm.
    """
    first = next(iter(runs.values()), None)
    alike = {arm: run for arm, run in runs.items() if first is not None and _pairing(run) == _pairing(first)}
    if len(alike) < 2:
        return
    heading(
        "The same agent at the same timestep",
        "Runs with the same people and seed activate the same agents at the same timesteps. These moments are drawn by "
        "lot among those at which an agent wrote in the most arms.",
    )
    moments = sample_moments(list(alike.values()), _MOST_MOMENTS)
    if not moments:
        note("No agent wrote at the same timestep in two of these runs.")
    for moment in moments:
        cells = "".join(
            f'<div class="cell">{arm_name(arm, colours[arm])}{_text(text)}</div>'
            for arm, text in zip(alike, moment.texts, strict=True)
        )
        head = f'<div class="head"><bdi>@{markup(moment.author)}</bdi> · timestep {moment.timestep}</div>'
        block(f'<div class="moment">{head}<div class="cells">{cells}</div></div>')


def _pairing(run: RunData) -> tuple[object, ...]:
    """What runs have in common whose agents are active at the same timesteps."""
    return run.population_digest, run.seed, len(run.agents), *clock_of(run.config)


def _text(sample: SampleText | None) -> str:
    if sample is None:
        return '<div class="about">Wrote nothing at this timestep.</div>'
    whom = f'<div class="about"><bdi>to @{markup(sample.answered)}</bdi></div>' if sample.answered else ""
    cut = sample.text if len(sample.text) <= _MOST_CHARACTERS else f"{sample.text[:_MOST_CHARACTERS]}…"
    return f'{whom}<div class="words">{markup(cut)}</div>'
