"""The accounts of the platform: agents first, then scripted ones."""

from collections.abc import Sequence


class Accounts:
    """Names, descriptions, and who is suspended; account ``i`` has ``names[i]``."""

    def __init__(self, names: Sequence[str], bios: Sequence[str] = ()) -> None:
        """Register accounts; descriptions that are not given are empty."""
        self.names = list(names)
        self.bios = [*bios, *[""] * (len(names) - len(bios))]
        self.suspended: set[int] = set()
        self._numbers = {name: user for user, name in enumerate(names)}

    def __len__(self) -> int:
        """How many accounts there are."""
        return len(self.names)

    def __contains__(self, user: int) -> bool:
        """Whether there is an account of that number."""
        return 0 <= user < len(self.names)

    def number(self, name: str) -> int | None:
        """The account of a name; None where there is none."""
        return self._numbers.get(name)
