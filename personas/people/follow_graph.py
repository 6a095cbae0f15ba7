"""Who follows whom, from what people did; nothing is invented."""

from collections.abc import Mapping, Sequence

from polyphony.personas.people.acts import Act, Verb


def addressee(act: Act, acts: Mapping[str, Act]) -> str | None:
    """Return the other person an act is directed at: the author of its target, or the followee.

    Args:
        act: What somebody did.
        acts: The corpus by id.
    """
    if act.target is None:
        return None
    handle = act.target if act.verb is Verb.FOLLOW else acts[act.target].author
    return handle if handle != act.author else None


def follow_graph(train: Mapping[str, Sequence[Act]], acts: Mapping[str, Act]) -> dict[str, tuple[str, ...]]:
    """Return everybody's followees, sorted.

    A corpus that records follows says who follows whom, and only its follow rows count. In any other, X follows Y if X
    replied to, quoted, reposted or liked something of Y's at least once.

    Args:
        train: Training acts by handle: later acts must not show in a feed before they happen.
        acts: The corpus by id.
    """
    recorded = any(act.verb is Verb.FOLLOW for act in acts.values())
    return {
        handle: tuple(
            sorted(
                {
                    other
                    for act in own
                    if (act.verb is Verb.FOLLOW) == recorded and (other := addressee(act, acts)) is not None
                }
            )
        )
        for handle, own in train.items()
    }


def interaction_graph(train: Mapping[str, Sequence[Act]], acts: Mapping[str, Act]) -> dict[str, tuple[str, ...]]:
    """Return the undirected graph of follows and interactions among the people of `train`, as sorted neighbours."""
    neighbours: dict[str, set[str]] = {handle: set() for handle in train}
    for handle, own in train.items():
        for act in own:
            other = addressee(act, acts)
            if other in neighbours:
                neighbours[handle].add(other)
                neighbours[other].add(handle)
    return {handle: tuple(sorted(others)) for handle, others in neighbours.items()}
