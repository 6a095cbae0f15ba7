"""Trials with two alternatives: which of two posts is by the person whose earlier posts are shown?"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from polyphony.errors import MetricsError
from polyphony.metrics.raters.material import OWN, REAL, SHUFFLED, Material
from polyphony.randomness import keyed_generator

KINDS = {f"{OWN}-{SHUFFLED}": (OWN, SHUFFLED), f"{OWN}-{REAL}": (REAL, OWN)}
"""The kinds of trials by name: first what is the right answer, then what it is told from."""
SHOWN = 3
LEAST_LETTERS = 12
SIDES = "AB"


class Trial(NamedTuple):
    """One trial.

    Attributes:
        kind: See `KINDS`; no rater may know it.
        person: Handle of the person; nor that.
        shown: Real earlier posts of the person.
        candidates: The two posts, A and B.
        answer: Which of them is right, ``A`` or ``B``.
    """

    kind: str
    person: str
    shown: tuple[str, ...]
    candidates: tuple[str, str]
    answer: str


def make_trials(material: Material, count: int, seed: int) -> list[Trial]:
    """Draw trials, as many of each kind as can be, each person as often as any other, in mixed order.

    Posts of fewer than 12 characters are not asked about, nor a post that stands among those that are shown.

    Args:
        material: The texts.
        count: Number of trials.
        seed: Key of the draws.

    Raises:
        MetricsError: There are fewer texts than that takes.
    """
    pools = {kind: pool for kind, pair in KINDS.items() if (pool := _pool(material, kind, pair, count, seed))}
    if not pools:
        raise MetricsError(
            "nobody has three earlier posts, a text of an agent with the own adapter, and one to tell it from; "
            "give runs of more timesteps, with their histories"
        )
    trials: list[Trial] = []
    while len(trials) < count and any(pools.values()):
        trials += [pool.pop() for pool in pools.values() if pool]
    if len(trials) < count:
        raise MetricsError(
            f"the runs give {len(trials)} trials, {count} are asked for; ask for fewer, or give more runs"
        )
    order = keyed_generator(seed, "order of trials").permutation(count)
    return [trials[:count][place] for place in order]


def form_id(trials: Sequence[Trial]) -> str:
    """What names a form: a digest of all that it shows, so that answers are scored by no other form's key."""
    shown = json.dumps([(trial.shown, trial.candidates) for trial in trials])
    return hashlib.sha256(shown.encode()).hexdigest()[:12]


def _pool(material: Material, kind: str, pair: tuple[str, str], most: int, seed: int) -> list[Trial]:
    """Trials of one kind: a first of each person, then a second of each, and so on."""
    people = material.people(*pair)
    order = [people[place] for place in keyed_generator(seed, "people of trials", kind).permutation(len(people))]
    of_person = [_of_person(material, kind, pair, person, seed) for person in order]
    rounds = max(map(len, of_person), default=0)
    drawn = [trials[number] for number in range(rounds) for trials in of_person if number < len(trials)]
    return drawn[:most][::-1]  # they are taken from the end


def _of_person(material: Material, kind: str, pair: tuple[str, str], person: str, seed: int) -> list[Trial]:
    random = keyed_generator(seed, "trials", kind, person)
    earlier = [text for text in dict.fromkeys(material.reference[person]) if len(text.strip()) >= LEAST_LETTERS]
    if len(earlier) < SHOWN:
        return []
    candidates = []
    for source in pair:
        texts = [text for text in dict.fromkeys(material.texts[source][person])
                 if len(text.strip()) >= LEAST_LETTERS and text not in earlier]  # fmt: skip
        candidates.append([texts[place] for place in random.permutation(len(texts))])
    trials = []
    for right, wrong in zip(*candidates, strict=False):
        if right == wrong:
            continue
        shown = tuple(earlier[place] for place in sorted(random.choice(len(earlier), size=SHOWN, replace=False)))
        side = int(random.integers(2))
        trials.append(Trial(kind, person, shown, (wrong, right) if side else (right, wrong), SIDES[side]))
    return trials
