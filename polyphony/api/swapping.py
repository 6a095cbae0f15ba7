"""Showing agents the feed of somebody else: what they would have done then."""

from collections.abc import Sequence
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from polyphony.api.settings import Settings, divided
from polyphony.personas.population import Population
from polyphony.simulation.cli.console import Reporter
from polyphony.simulation.runs.options import Value
from polyphony.simulation.runs.resources import Resources

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def feed_swap(
    settings: Settings | None = None,
    *,
    moments: int = 4,
    communities: Sequence[int] | None = None,
    people: Population | None = None,
    progress: bool = True,
    **options: "Value | Path | None",
) -> "pd.DataFrame":
    """Show each agent, at held-out moments of its person, its own feed, one of its community, and one of another.

    Nothing else changes: the same agent, the same time, the same memory. Missing adapters are trained first. The means
    with their intervals are in ``simulate bank evaluate``, as `feed_swap_distance` and `feed_swap_change`.

    Args:
        settings: Options that name the people and the training; None for the defaults.
        moments: Most moments of one person.
        communities: Of each agent, any numbers; None for the planted ones, or else Louvain's of the training acts.
        people: A population that is loaded already; None to load the one that the option `population` names.
        progress: Whether progress is shown on stderr.
        options: Options of ``simulate run`` by name, which take precedence over `settings`; among them ``bank``,
            ``base_model``, ``device`` and ``dtype``.

    Returns:
        A row for each agent, moment, feed (``own``, ``near``, ``far``) and act. Columns: ``handle``, ``at``,
        ``moment``, ``feed``, ``act``, and its probability under ``base``, ``prior`` and ``own``.

    Raises:
        InputError: An option cannot be, or the people cannot be read or have no history to learn from.
    """
    from polyphony.adapters.evaluation.feed_swap import swapped_rows

    machine, changes = divided(options)
    chosen = (settings or Settings()).replace(**changes).run_settings
    with Reporter() if progress else nullcontext() as reporter:
        hooks = reporter.hooks if reporter else None
        resources = Resources(chosen, **vars(machine), hooks=hooks, population=people)
        with closing(resources.open_bank()) as bank:
            training = resources.training(chosen, bank)
            revisions = training.personal(resources.personas)
            rows = swapped_rows(training, resources.personas, revisions, moments=moments, communities=communities)
    import pandas as pd

    return pd.DataFrame(rows)
