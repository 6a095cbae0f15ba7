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


def _first_texts(run: RunData) -> dict[str, SampleText]:
    """Of each agent that wrote, the first post, else the first reply or quote."""
    entries = [
        (post.timestep, post.user_id, None if post.is_original else run.author_of(post.original_post_id or 0), text)
        for post in run.own_posts if (text := post.own_text)
    ] + [
        (comment.timestep, comment.user_id, run.answered_by(comment), comment.content) for comment in run.own_comments
    ]  # fmt: skip
    first: dict[str, SampleText] = {}
    for _, user, answered, text in sorted(entries, key=lambda entry: (entry[2] is not None, entry[0])):
        author = run.users[user]
        first.setdefault(author, SampleText(author, "" if answered is None else run.users.get(answered, ""), text))
    return first
