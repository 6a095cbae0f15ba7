"""Which acts of a person are laid before one screen."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from polyphony.personas.people.acts import Act
from polyphony.simulation.history.corpus_platform import CorpusPlatform

# Acts that are further apart do not share a screen.
WITHIN = timedelta(hours=48)


State = tuple[int, datetime]


@dataclass
class Screen:
    """What a person did, or did not do, before one screen.

    Attributes:
        at: When they were first before it.
        state: What it shows the platform as of: the number of acts carried out, and the moment.
        acts: What they did, in time order.
        is_idle: Whether they did nothing at one of their moments before it.
        is_prelude: Whether it is before those that are asked for.
    """

    at: datetime
    state: State
    acts: list[Act] = field(default_factory=list)
    is_idle: bool = False
    is_prelude: bool = False

    @property
    def id(self) -> str:
        """Key of the draws for this screen."""
        return self.acts[0].id if self.acts else f"nothing {self.at.isoformat()}"

    @property
    def targets(self) -> list[str]:
        """What the acts are about, each once: ids of acts, and handles of followees."""
        return list(dict.fromkeys(act.target for act in self.acts if act.verb.has_target and act.target is not None))


@dataclass(frozen=True)
class ScreenRules:
    """How acts are laid before screens.

    Attributes:
        together: Most acts that share a screen.
        items: Items of a screen; at least one is no target of its acts.
        platform: Says what stands before what.
        about: What an act is about; None for an act without a target.
    """

    together: int
    items: int
    platform: CorpusPlatform
    about: Callable[[Act], Act | None]

    def at(self, moment: datetime) -> State:
        """As of when a screen without a target shows the platform: the beginning of the timestep."""
        start = self.platform.step_start(moment)
        return self.platform.before(start), start

    def state(self, act: Act) -> State:
        """As of when an act's screen shows the platform: the timestep's beginning, the act for a younger target."""
        start, about = self.at(act.at), self.about(act)
        return start if about is None or about.at < start[1] else (self.platform.number(act), act.at)


def screens(acts: Sequence[Act], idle: Sequence[datetime], rules: ScreenRules) -> list[Screen]:
    """Lay a person's acts, and the moments at which they did nothing, before screens.

    Neighbouring acts within two days may share a screen, and a moment without an act the screen of the acts before it.
    It then shows the platform as it stood at the last of them.

    Args:
        acts: The acts, in time order.
        idle: The moments without an act, sorted.
        rules: What may share a screen.

    Returns:
        Screens in the order of what they show the platform as of.
    """
    laid_out: list[Screen] = []
    for act in acts:
        if not laid_out or not _fits(laid_out[-1], act, rules):
            laid_out.append(Screen(act.at, rules.state(act), [act]))
        else:
            laid_out[-1].acts.append(act)
            laid_out[-1].state = max(laid_out[-1].state, rules.state(act))
    alone = []
    for at in idle:
        place = bisect_right(laid_out, at, key=lambda screen: screen.at) - 1
        if rules.together > 1 and place >= 0 and at - laid_out[place].at <= WITHIN and not laid_out[place].is_idle:
            laid_out[place].is_idle, laid_out[place].state = True, max(laid_out[place].state, rules.at(at))
        else:
            alone.append(Screen(at, rules.at(at), is_idle=True))
    laid_out += alone
    return sorted(laid_out, key=lambda screen: (screen.state, screen.at, not screen.acts))


def _fits(screen: Screen, act: Act, rules: ScreenRules) -> bool:
    targets = {*screen.targets, *([act.target] if act.verb.has_target else [])}
    return (
        len(screen.acts) < rules.together
        and act.at - screen.at <= WITHIN
        and len(targets) < max(2, rules.items)
        and act.target not in {earlier.id for earlier in screen.acts}
    )
