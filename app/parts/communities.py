"""Communities as the pages show them: named by their words, in one colour everywhere."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from polyphony.app.parts.style import COMMUNITY_COLOURS, OTHER_COLOUR
from polyphony.metrics.figures.communities import SMALLEST_COMMUNITY
from polyphony.metrics.figures.topics import community_names
from polyphony.metrics.runfile.rundata import RunData


class Communities(NamedTuple):
    """A partition of users; the largest communities have names and colours.

    Attributes:
        partition: Community of every user.
        sizes: Users in each community, the largest first.
        names: Name of each large community, from its members' words; not escaped.
        colours: Colour of each large community; of all others it is grey.
    """

    partition: Mapping[int, int]
    sizes: dict[int, int]
    names: dict[int, str]
    colours: dict[int, str]

    def members(self, label: int) -> frozenset[int]:
        """Users of a community."""
        return frozenset(user for user, community in self.partition.items() if community == label)

    def colour_of(self, user: int) -> str:
        """The colour of a user's community."""
        return self.colours.get(self.partition[user], OTHER_COLOUR)

    @property
    def others(self) -> int:
        """Users in communities without a colour."""
        return sum(size for label, size in self.sizes.items() if label not in self.colours)


def communities_of(run: RunData, partition: Mapping[int, int]) -> Communities:
    """Name and colour the largest communities of a partition whose labels fall by size; at most eight."""
    sizes = dict(Counter(partition.values()).most_common())
    large = [label for label, size in sizes.items() if size >= SMALLEST_COMMUNITY][: len(COMMUNITY_COLOURS)]
    names = community_names(run, partition, large)
    return Communities(partition, sizes, names, dict(zip(large, COMMUNITY_COLOURS, strict=False)))
