"""The head of docs/results.md: what own adapters changed, in words and main figures, with the caveats."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.stored_study import OWN, REFERENCE, Stored
from polyphony.metrics.core.labels import number, probability, span
from polyphony.metrics.core.paired import PairedDifference
from polyphony.metrics.core.registry import title_of

OTHERS = "shuffled"
ACTIVITY, STRUCTURE = ("original_posts", "comments"), ("effective_communities", "within_community_homophily")
SPREAD = "stance_spread"
ATTRIBUTION, NEXT_ACT, TREES, IDLE = "attribution_accuracy", "next_act_f1", "next_act_f1_trees", "nothing_share"
# By the directions of the counts in all populations at all sizes.
_ACTIVITY = {
    frozenset({1}): "Agents with their own adapters wrote more than agents that shared the base model",
    frozenset({-1}): "Agents with their own adapters wrote less than agents that shared the base model",
    frozenset({0, 1}): (
        "Agents with their own adapters wrote more than agents that shared the base model in some populations and "
        "sizes; in the others the difference is undecided"
    ),
}
_OPEN_ACTIVITY = (
    "Whether agents with their own adapters write more than agents that share the base model is open or mixed"
)
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
        """Own adapters less an arm; None where no two seeds have both."""
        paired = self.study.paired(measurement, OWN, arm, size or self.size)
        return None if paired is None or paired.interval is None else paired


def answer(studies: Mapping[str, Stored]) -> str:
    """A paragraph that answers the page's question, and an item for each population.

    Args:
        studies: The population in words to its study. Of each, the size with the most seeds is told, the larger one of
            equals.
    """
    populations = [Population(title, study, size) for title, study in studies.items() if (size := _size(study))]
    if not populations:
        return "**Answer.** Nothing is known yet: no study holds two seeds of own adapters and of the base."
    items = "\n".join(f"- **{each.title[0].upper()}{each.title[1:]}**: {_item(each)}" for each in populations)
    return f"**Answer.** {_lead(populations)} {' '.join(_caveats(populations))}\n\n{items}"


def _size(study: Stored) -> int | None:
    """The population size with the most seeds of both own adapters and base; at least two."""
    pairs = {size: study.paired(ACTIVITY[0], OWN, REFERENCE, size) for size in study.sizes}
    seeds = {size: pair.n for size, pair in pairs.items() if pair is not None and pair.interval is not None}
    return max(seeds, key=lambda size: (seeds[size], size), default=None)


def _lead(populations: Sequence[Population]) -> str:
    """What holds in every population, with the figure of each."""
    activity = _directions(populations, ACTIVITY, REFERENCE)
    posts = ", ".join(f"{each.against(REFERENCE, ACTIVITY[0])} with {each.title}" for each in populations)
    shared = _ACTIVITY.get(frozenset(activity), _OPEN_ACTIVITY)
    lead = f"{shared} (original posts a run: {posts})."
    if _directions(populations, (ATTRIBUTION,), OTHERS) == {1}:
        shares = ", ".join(each.against(OTHERS, ATTRIBUTION, show=True) for each in populations)
        lead += (
            f" A classifier traced more of their texts to the right person than of texts by agents with another "
            f"person's adapter ({shares})."
        )
    return f"{lead} {_structure(populations)}"


def _structure(populations: Sequence[Population]) -> str:
    """Whether communities, homophily or the spread of stances inside communities differ from those of the base."""
    shown = _directions(populations, STRUCTURE, REFERENCE) - {0}
    words = (
        "Effective communities or within-community homophily differed in some populations and sizes"
        if shown else "No change of effective communities or of within-community homophily was shown"
    )  # fmt: skip
    spread = _directions(populations, (SPREAD,), REFERENCE) - {0}
    if spread:
        how = {frozenset({1}): "wider", frozenset({-1}): "narrower"}.get(frozenset(spread), "wider or narrower")
        words += f"; stances inside communities were spread {how} in some"
    return f"{words}."


def _directions(populations: Sequence[Population], measurements: Sequence[str], arm: str) -> set[int]:
    """The directions of the differences, of all populations at all their sizes."""
    pairs = (
        population.paired(name, arm, size)
        for name in measurements for population in populations for size in population.study.sizes
    )  # fmt: skip
    return {paired.direction for paired in pairs if paired is not None}


def _caveats(populations: Sequence[Population]) -> Iterator[str]:
    """What a reader must know before using the figures."""
    if any(population.study.is_earlier for population in populations):
        yield "The runs are of an earlier version, in which agents did not react to what they saw."
    yield "There is one base model, and there are few seeds."
    for title, study, _ in populations:
        values = [p for _, p in study.tested.values() if p is not None]
        if values and min(values) > 0.05:
            yield (
                f"With {title} no difference from the base in the four primary figures stays significant after Holm's "
                f"correction (smallest p {probability(min(values))})."
            )


def _item(population: Population) -> str:
    """The main figures of one population."""
    _, study, size = population
    seeds = len(study.figures(ACTIVITY[0], OWN, size))
    figures = [_figure(population, name) for name in (*ACTIVITY, *STRUCTURE) if population.paired(name, REFERENCE)]
    sentences = [
        f"{size} agents, {seeds} seeds, own adapters against base, in brackets the 95% interval of the difference: "
        f"{', '.join(figures)}.",
        f"Activations that do nothing are {population.against(REFERENCE, IDLE, show=True)}; they explain a part of the "
        "difference in counts.",
        *_whose(population),
    ]
    trees = study.better(TREES, NEXT_ACT, OWN, size)
    if trees is not None and trees.direction == 1:
        sentences.append("Gradient-boosted trees predict a person's next act better than the adapters do.")
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
