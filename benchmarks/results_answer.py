"""The answer of docs/results.md: what came out of each claim of the paper, in words; and its main figures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from benchmarks.claims import EXPLAINED, OPEN, REFUTED, REPRODUCED, VERDICTS, Row
from benchmarks.stored_study import OWN, REFERENCE, Stored
from polyphony.metrics.core.labels import number, probability, span
from polyphony.metrics.core.paired import PairedDifference
from polyphony.metrics.core.registry import title_of

OTHERS = "shuffled"
ACTIVITY, STRUCTURE = ("original_posts", "comments"), ("effective_communities", "within_community_homophily")
SPREAD = "stance_spread"
ATTRIBUTION, NEXT_ACT, TREES, IDLE = "attribution_accuracy", "next_act_f1", "next_act_f1_trees", "nothing_share"
_KINDS = {
    REPRODUCED: "reproduced", EXPLAINED: "explained by a control", REFUTED: "refuted",
}  # fmt: skip
_WHERE = {"town": "in the town", "real authors": "with real authors"}
_CONTROL_WORDS = {"pooled": "a shared adapter", "act-matched": "verbs drawn from histories"}
_ELSEWHERE = {1: "more", -1: "fewer", 0: "undecided"}


class Population(NamedTuple):
    """A study, and the size of which the head tells."""

    title: str
    study: Stored
    size: int

    def against(self, arm: str, measurement: str, show: bool = False) -> str:
        """The mean of own adapters and that of an arm; as percentages if `show`."""
        means = (self.study.mean(measurement, each, self.size) for each in (OWN, arm))
        return " against ".join(_percent(mean) if show else number(mean) for mean in means)

    def paired(self, measurement: str, arm: str, size: int | None = None) -> PairedDifference | None:
        """Own adapters less an arm; None where no two units have both."""
        paired = self.study.paired(measurement, OWN, arm, size or self.size)
        return None if paired is None or paired.interval is None else paired


def answer(studies: Mapping[str, Stored], rows: Sequence[Row]) -> str:
    """At most ten items that answer the page's question.

    Args:
        studies: The population in words to its study.
        rows: The paper's claims held to them.
    """
    if not any(row.difference.interval for row in rows):
        return "- Nothing is known yet: no study holds two seeds of own adapters and of the base."
    counts = Counter(row.verdict.kind for row in rows)
    tally = ", ".join(
        f"{counts[kind]} {'is' if counts[kind] == 1 else 'are'} {words}" for kind, words in _KINDS.items()
    )
    parts = [_of_part(title, study) for title, study in studies.items() if study.is_part and not study.is_earlier]
    lines = [
        *parts,
        f"Each claim of the paper at each size of each population makes {len(rows)} rows: {tally}; in {counts[OPEN]} "
        "we cannot tell.",
        *map(_of_claim, _by_claim(rows)), *_whose_texts(studies),
    ]  # fmt: skip
    if any(study.is_earlier for study in studies.values()):
        lines.append(
            "These runs are of an earlier version: agents did not react to what they saw, and arms differed in more "
            "than their adapters. No verdict is final."
        )
        lines.append("The pilot that mends this is locked and being run. It is not in these figures.")
    return "\n".join(f"- {line}" for line in lines)


def _of_part(title: str, study: Stored) -> str:
    """That a study is not finished."""
    done, unfinished = len(study.found["runs"]), len(study.found["unfinished"])
    return (
        f"**This is not the whole study.** {done} of {done + unfinished} planned runs are finished, those of {title}. "
        "Every figure may change with the others."
    )


def _by_claim(rows: Sequence[Row]) -> Iterator[list[Row]]:
    for _, group in groupby(rows, key=lambda row: row.claim.measurement):
        yield list(group)


def _of_claim(rows: Sequence[Row]) -> str:
    """What came out of one claim, and where."""
    where: dict[tuple[str, str], dict[str, list[int]]] = {}
    for row in sorted(rows, key=lambda row: VERDICTS.index(row.verdict.kind)):
        where.setdefault((_outcome(row), _proviso(row)), {}).setdefault(row.population, []).append(row.agents)
    title = title_of(rows[0].claim.measurement)
    told = [f"{outcome} {_places(places)}{proviso}" for (outcome, proviso), places in where.items()]
    return f"**{title}**: {'; '.join(told)}."


def _outcome(row: Row) -> str:
    if row.verdict.kind == EXPLAINED:
        return "explained by " + " and by ".join(_CONTROL_WORDS[each] for each in row.verdict.reason.split(" and "))
    return row.verdict.kind


def _proviso(row: Row) -> str:
    """The controls that a reproduced claim was not held to."""
    if row.verdict.kind != REPRODUCED or not row.absent:
        return ""
    return f", where {' and '.join(f'`{each}`' for each in row.absent)} did not run"


def _places(sizes: Mapping[str, Sequence[int]]) -> str:
    """Populations with their sizes, in words."""
    return " and ".join(
        f"{_WHERE.get(population, f'in {population}')} ({', '.join(map(str, agents))})"
        for population, agents in sizes.items()
    )


def _whose_texts(studies: Mapping[str, Stored]) -> Iterator[str]:
    """Whether it matters whose adapter an agent has: in its texts, and in how much it writes."""
    populations = list(_populations(studies))
    if _directions(populations, (ATTRIBUTION,), OTHERS) != {1}:
        return
    shares = ", ".join(each.against(OTHERS, ATTRIBUTION, show=True) for each in populations)
    activity = _directions(populations, ACTIVITY, OTHERS)
    counts = "How much an agent writes was not shown to depend on it" if activity == {0} else (
        "Against those, how much agents write differed in some populations and sizes, "
        f"{'in both directions' if {1, -1} <= activity else 'in one direction'}"
    )  # fmt: skip
    yield (
        "Whose adapter an agent has shows in its texts: a classifier traced more of them to the right person than with "
        f"another person's adapter ({shares}). {counts}."
    )


def in_figures(title: str, study: Stored) -> str:
    """The main figures of one population at the size with the most seeds, the larger one of equals; empty without."""
    return "".join(f"**In figures.** {_item(each)}" for each in _populations({title: study}))


def _populations(studies: Mapping[str, Stored]) -> Iterator[Population]:
    for title, study in studies.items():
        if size := _size(study):
            yield Population(title, study, size)


def _size(study: Stored) -> int | None:
    """The population size with the most seeds of both own adapters and base; at least two."""
    pairs = {size: study.paired(ACTIVITY[0], OWN, REFERENCE, size) for size in study.sizes}
    seeds = {size: pair.n for size, pair in pairs.items() if pair is not None and pair.interval is not None}
    return max(seeds, key=lambda size: (seeds[size], size), default=None)


def _directions(populations: Sequence[Population], measurements: Sequence[str], arm: str) -> set[int]:
    """The directions of the differences, of all populations at all their sizes."""
    pairs = (
        population.paired(name, arm, size)
        for name in measurements for population in populations for size in population.study.sizes
    )  # fmt: skip
    return {paired.direction for paired in pairs if paired is not None}


def _item(population: Population) -> str:
    """The main figures of one population."""
    _, study, size = population
    units = len(study.values(ACTIVITY[0], OWN, size))
    kind = "seeds" if len(study.populations) == 1 else "populations"
    figures = [_figure(population, name) for name in (*ACTIVITY, *STRUCTURE) if population.paired(name, REFERENCE)]
    sentences = [
        f"{size} agents, {units} {kind}, own adapters against base, in brackets the 95% interval of the difference: "
        f"{', '.join(figures)}.",
        f"Activations that do nothing are {population.against(REFERENCE, IDLE, show=True)}; they explain a part of the "
        "difference in counts.",
        *_whose(population),
    ]
    trees = study.better(TREES, NEXT_ACT, OWN, size)
    if trees is not None and trees.direction == 1:
        sentences.append("Gradient-boosted trees predict a person's next act better than the adapters do.")
    values = [p for _, p in study.tested.values() if p is not None]
    if values and min(values) > 0.05:
        sentences.append(
            "No difference from the base in the four primary figures stays significant after Holm's correction "
            f"(smallest p {probability(min(values))})."
        )
    return " ".join(sentences)


def _figure(population: Population, name: str) -> str:
    """Both means, the interval, and the other sizes where the verdict differs."""
    paired = population.paired(name, REFERENCE)
    assert paired is not None
    verdicts: dict[int, list[str]] = {}
    for size in population.study.sizes:
        other = population.paired(name, REFERENCE, size)
        if other is not None and other.direction != paired.direction:
            verdicts.setdefault(other.direction, []).append(str(size))
    elsewhere = "".join(f"; {_ELSEWHERE[key]} at {' and '.join(sizes)} agents" for key, sizes in verdicts.items())
    return f"{title_of(name).lower()} {population.against(REFERENCE, name)} ({span(paired.interval)}{elsewhere})"


def _whose(population: Population) -> Iterator[str]:
    """Whether the counts depend on whose adapter an agent has."""
    pairs = {
        (name, size): paired
        for name in ACTIVITY for size in population.study.sizes
        if (paired := population.paired(name, OTHERS, size)) is not None
    }  # fmt: skip
    words = [
        f"{_ELSEWHERE[paired.direction]} {title_of(name).lower()} at {size} agents ({span(paired.interval)})"
        for (name, size), paired in pairs.items() if paired.direction
    ]  # fmt: skip
    if words:
        yield f"Against agents with another person's adapter they wrote {' and '.join(words)}."
    elif pairs:
        yield "Posts and comments were not shown to depend on whose adapter an agent has."


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"
