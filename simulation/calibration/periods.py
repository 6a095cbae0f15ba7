"""The two periods of a calibration, and the people as they were known when each began."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.rhythm import credibly_dated
from polyphony.personas.people.split import split_date
from polyphony.personas.population import Population, by_author, load_population
from polyphony.simulation.world.clock import iso

REACTIONS = (Verb.REPLY, Verb.QUOTE, Verb.REPOST)
"""What a cascade grows by."""
LEAST_STEPS, LEAST_PEOPLE = 12, 8
# An agent acts at most once in a timestep: where people act about as often, no activation gives their number of acts.
MOST_ACTS = 0.6


@dataclass(frozen=True)
class Period:
    """A stretch of the corpus's time that is simulated.

    Attributes:
        name: ``training`` or ``held-out``.
        start: Its first moment, in UTC.
        steps: Number of timesteps.
        minutes: Minutes of a timestep.
        population: The people with what they did before `start` as their history.
        handles: The agents, in order.
    """

    name: str
    start: datetime
    steps: int
    minutes: int
    population: Population
    handles: tuple[str, ...]

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return self.start + timedelta(minutes=self.minutes * self.steps)

    @cached_property
    def acts(self) -> list[Act]:
        """What its agents did in it before everybody's eyes, in time order."""
        agents = set(self.handles)
        return [
            act for act in self.population.acts.values()
            if act.author in agents and self.start <= act.at < self.end and not act.is_private
            and not act.is_date_doubtful
        ]  # fmt: skip

    @property
    def rate(self) -> float:
        """Acts of an agent in a timestep, counted."""
        return len(self.acts) / (len(self.handles) * self.steps)

    @property
    def description(self) -> str:
        """The period in a line."""
        return f"{iso(self.start)} to {iso(self.end)}, {self.steps:,} timesteps of {self.minutes} minutes"


@dataclass(frozen=True)
class Periods:
    """What is fitted to and what is scored on.

    Attributes:
        training: The earlier period.
        held_out: The later one, which begins where the earlier ends.
    """

    training: Period
    held_out: Period


def load_periods(
    source: str, *, columns: str, timezone: str, agents: int, minutes: int, most_steps: int,
    held_out_from: datetime | None = None,
) -> Periods:  # fmt: skip
    """Read a corpus and split it by time.

    The held-out period begins where `personas.people.split.split_date` splits, with about the last fifth of all acts.
    The training period is found in the same way among the acts before. Each simulation knows only what was before its
    period.

    Args:
        source: As `personas.population.load_population` takes it.
        columns: As for that.
        timezone: As for that.
        agents: Most people who become agents, the first in sampling order.
        minutes: Minutes of a timestep.
        most_steps: Most timesteps of a period: of the training period the last, of the held-out period the first.
        held_out_from: Where the held-out period begins instead.

    Raises:
        InputError: The corpus cannot be read, or does not hold two periods that could be simulated and compared.
    """
    corpus = load_population(source, columns=columns, timezone=timezone, held_out_from=held_out_from)
    later, last = corpus.split_date, _last(corpus)
    if not corpus.acts:
        raise InputError(f"{corpus.name}: holds no acts; give a file of posts with their dates")
    if later is None:
        raise InputError(
            f"{corpus.name}: no date parts its acts into two periods: they are of one moment, or fewer than half of "
            "the people have 8 acts before it; give posts of a longer time"
        )
    step = timedelta(minutes=minutes)
    before = {name: [act for act in acts if act.at < later] for name, acts in by_author(corpus.acts.values()).items()}
    earlier = split_date({person.handle: before.get(person.handle, []) for person in corpus.personas})
    if earlier is None:
        raise InputError(
            f"{corpus.name}: fewer than half of the people have 8 acts before a training period that would end at "
            f"{iso(later)}; give posts of a longer time"
        )
    steps = min(most_steps, (later - earlier) // step), min(most_steps, max(0, (last - later) // step))
    for name, count in zip(("training", "held-out"), steps, strict=True):
        if count < LEAST_STEPS:
            raise InputError(
                f"{corpus.name}: the {name} period has {count} timesteps of {minutes} minutes, and needs "
                f"{LEAST_STEPS}; give posts of a longer time, or fewer --minutes-per-step"
            )
    history = load_population(source, columns=columns, timezone=timezone, held_out_from=later - steps[0] * step)
    names = tuple(person.handle for person in history.personas if person.is_trainable)[:agents]
    if len(names) < LEAST_PEOPLE:
        raise InputError(
            f"{corpus.name}: {len(names)} people have enough acts before {iso(later - steps[0] * step)}, where the "
            f"training period begins; at least {LEAST_PEOPLE} are needed: give more posts, or more --agents"
        )
    periods = Periods(
        Period("training", later - steps[0] * step, steps[0], minutes, _of(history, names), names),
        Period("held-out", later, steps[1], minutes, _of(corpus, names), names),
    )
    _check(periods)
    return periods


def _check(periods: Periods) -> None:
    """Refuse periods that nothing could be fitted to."""
    for period in (periods.training, periods.held_out):
        where, acts = f"{period.population.name}: the {period.name} period ({period.description})", period.acts
        if not any(act.verb in REACTIONS and act.target in period.population.acts for act in acts):
            raise InputError(
                f"{where} holds no reply, quote or repost of a post of the file: there are no cascades to fit to; give "
                "a corpus with reply_to, quote_of or repost_of"
            )
        if period.rate > MOST_ACTS:
            raise InputError(
                f"{where} holds {period.rate:.2g} acts of an agent in a timestep, and an agent acts at most once in "
                "one; give fewer --minutes-per-step"
            )


def _last(population: Population) -> datetime:
    dated = credibly_dated(list(population.acts.values()))
    return max((act.at for act in dated), default=datetime.min)


def _of(population: Population, names: Sequence[str]) -> Population:
    """The same population with these people as its agents, in this order."""
    people: Mapping[str, object] = {person.handle: person for person in population.personas}
    return replace(population, personas=tuple(people[name] for name in names if name in people))  # type: ignore[misc]
