"""What a file itself says of a person, beside what they did."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A person as a persona file describes them.

    Attributes:
        handle: Display name.
        description: Who they are; empty where the file does not say.
        activity: Expected acts in each UTC hour of a day, 24 numbers of at least 0; None where the file does not say.
        following: Handles of whom they follow, as the file gives them; empty where the file does not say.
    """

    handle: str
    description: str = ""
    activity: tuple[float, ...] | None = None
    following: tuple[str, ...] = ()
