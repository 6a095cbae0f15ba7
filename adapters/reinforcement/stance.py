"""On which side a post of a generated town stands, as a task: the town's truth is the right answer."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from polyphony.adapters.reinforcement.tasks import Split, random_parts
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.population import Population
from polyphony.printable import printable

STANCE = "stance"
SIDES = {1: "for", -1: "against"}
# Share of the authors whose posts are measured on: a vote needs many items.
TESTED = 0.6
# Most characters of a post that a question tells.
MOST_CHARACTERS = 240


@dataclass(frozen=True)
class SidedPost:
    """A post that takes a side.

    Attributes:
        author: Who wrote it.
        text: What it says.
        issue: What it is about, in words.
        side: 1 for, -1 against.
    """

    author: str
    text: str
    issue: str
    side: int


class Stance:
    """Is a post for or against what it is about? An answer is worth 1 if it is the side of the town's truth.

    The posts of one author are in one part. All are made from the claims of one grammar: in the built-in town 95% of
    the test posts have five words in a row that stand in a learned post, too. So the task asks whether an adapter
    recognises how a side talks, not whether it understands a claim that it has not seen.
    """

    name = STANCE
    most_tokens = 4

    def __init__(self, posts: Mapping[str, SidedPost]) -> None:
        """Take the posts by their ids."""
        self._posts = posts

    def split(self, seed: int, owner: str = "") -> Split:
        """The posts, split by author; they have no other owner."""
        by_author: defaultdict[str, list[str]] = defaultdict(list)
        for item, post in self._posts.items():
            by_author[post.author].append(item)
        authors = sorted(by_author)
        parts = random_parts(len(authors), seed, self.name, tested=TESTED)
        return Split(*([item for place in part for item in by_author[authors[place]]] for part in parts))

    def prompt(self, item: str) -> str:
        """The post and the question."""
        post = self._posts[item]
        return f"Post: {_line(post.text)}\nIs it for or against {_line(post.issue)}? Answer:"

    def answer(self, item: str) -> str:
        """The side."""
        return f" {SIDES[self._posts[item].side]}"

    def reward(self, item: str, text: str) -> float:
        """1 for the side of the truth, else 0."""
        return float(text.strip() == SIDES[self._posts[item].side])


def stance_of(population: Population) -> Stance:
    """The posts of a generated town that take a side; no replies and quotes, whose side depends on what they answer.

    Raises:
        InputError: Nobody knows which side the population's posts take.
    """
    titles, texts = population.truth.truth.get("issues"), population.truth.texts
    posts = {
        act.id: SidedPost(act.author, act.text, _title(titles, texts[act.id].subject), texts[act.id].side)
        for act in population.acts.values()
        if act.verb is Verb.POST and act.id in texts and texts[act.id].side in SIDES
    }
    if not posts:
        raise InputError(
            f"{population.name}: nothing says on which side its posts stand; --task {STANCE} needs a generated town, "
            "for example --population town"
        )
    return Stance(posts)


def _title(titles: object, issue: str) -> str:
    return str(titles.get(issue, issue)) if isinstance(titles, Mapping) else issue


def _line(text: str) -> str:
    """Text on one line, cut; nothing in it can end the question."""
    return printable(text)[:MOST_CHARACTERS]
