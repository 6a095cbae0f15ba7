"""A few texts of runs, drawn by lot, for people who want to read before they see figures."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from polyphony.metrics.measure import RunMeasurements
from polyphony.metrics.runfile.rundata import RunData
from polyphony.randomness import keyed_generator

Source = TypeVar("Source")


class SampleText(NamedTuple):
    """A text that an agent wrote in a run.

    Attributes:
        author: Handle of the agent.
        answered: Handle of whom a reply or a quote answers; empty for a post.
        text: What the agent wrote.
    """

    author: str
    answered: str
    text: str


class SampleMoment(NamedTuple):
    """What one agent wrote at one timestep in several runs.

    Attributes:
        author: Handle of the agent.
        timestep: The timestep.
        texts: One for each run; None where the agent wrote nothing then.
    """

    author: str
    timestep: int
    texts: tuple[SampleText | None, ...]


def of_one_seed(
    runs: Sequence[RunMeasurements], sources: Sequence[Source], arms: Sequence[str], most: int
) -> dict[str, Source]:
    """Which runs' texts are shown: those of the size and seed that most arms have.

    Args:
        runs: The runs.
        sources: Their files or URLs, in the same order.
        arms: Their arms, in the order in which they are shown.
        most: Most arms.

    Returns:
        The sources by arm.
    """
    groups: defaultdict[tuple[int, int], dict[str, Source]] = defaultdict(dict)
    for run, source in zip(runs, sources, strict=True):
        groups[run.agents, run.seed][run.arm] = source
    _, shown = max(groups.items(), key=lambda group: (len(group[1]), group[0][0], -group[0][1]))
    return {arm: shown[arm] for arm in [arm for arm in arms if arm in shown][:most]}


def sample_texts(runs: Sequence[RunData], most: int) -> list[list[SampleText | None]]:
    """Texts of several runs side by side.

    Agents who wrote in all runs come first, then those who wrote in fewer; which ones is drawn by lot. Of each agent it
    is the first post of the run, else the first other text.

    Args:
        runs: The runs.
        most: Most rows.

    Returns:
        Rows with one text of each run, None where a run has none. Where an agent wrote in all runs, a row's texts are
        all theirs.
    """
    written = [_first_texts(run) for run in runs]
    everybody = sorted(set().union(*written)) if written else []
    order = [everybody[place] for place in keyed_generator(0, "sample texts").permutation(len(everybody))]
    shared = [handle for handle in order if all(handle in texts for texts in written)][:most]
    rows: list[list[SampleText | None]] = [[texts[handle] for texts in written] for handle in shared]
    others = [[texts[handle] for handle in order if handle in texts and handle not in shared] for texts in written]
    for place in range(min(most - len(rows), max(map(len, others), default=0))):
        rows.append([texts[place] if place < len(texts) else None for texts in others])
    return rows


def sample_moments(runs: Sequence[RunData], most: int) -> list[SampleMoment]:
    """Texts of the same agent at the same timestep in several runs.

    Runs with the same people and seed activate the same agents at the same timesteps. Moments at which the agent wrote
    in more of the runs come first; which ones, and of which agents, is drawn by lot. Every agent stands there once.

    Args:
        runs: Runs with the same people and seed.
        most: Most moments.

    Returns:
        Moments at which an agent wrote in at least two runs, or, of a single run, in that one.
    """
    written = [_texts_by_moment(run) for run in runs]
    moments = sorted(set().union(*written)) if written else []
    lot = keyed_generator(0, "sample moments").permutation(len(moments))
    drawn = [
        SampleMoment(handle, timestep, tuple(texts.get((handle, timestep)) for texts in written))
        for handle, timestep in (moments[place] for place in lot)
    ]
    drawn.sort(key=lambda moment: moment.texts.count(None))
    of_agent: dict[str, SampleMoment] = {}
    for moment in drawn:
        if len(runs) - moment.texts.count(None) >= min(2, len(runs)):
            of_agent.setdefault(moment.author, moment)
    return list(of_agent.values())[:most]


def _texts_by_moment(run: RunData) -> dict[tuple[str, int], SampleText]:
    """The first text of each agent at each timestep, by handle and timestep."""
    first: dict[tuple[str, int], SampleText] = {}
    for timestep, sample in _texts_of(run):
        first.setdefault((sample.author, timestep), sample)
    return first


def _first_texts(run: RunData) -> dict[str, SampleText]:
    """Of each agent that wrote, the first post, else the first reply or quote."""
    first: dict[str, SampleText] = {}
    for _, sample in _texts_of(run):
        first.setdefault(sample.author, sample)
    return first


def _texts_of(run: RunData) -> list[tuple[int, SampleText]]:
    """The texts that agents wrote, with their timesteps: posts first, then replies and quotes, each in their order."""
    entries = [
        (post.timestep, post.user_id, None if post.is_original else run.author_of(post.original_post_id or 0), text)
        for post in run.own_posts if (text := post.own_text)
    ] + [
        (comment.timestep, comment.user_id, run.answered_by(comment), comment.content) for comment in run.own_comments
    ]  # fmt: skip
    return [
        (timestep, SampleText(run.users[user], "" if answered is None else run.users.get(answered, ""), text))
        for timestep, user, answered, text in sorted(entries, key=lambda entry: (entry[2] is not None, entry[0]))
    ]
