"""What a run file tells measurements of a generated town's stances; no model may see it."""

from collections.abc import Sequence

from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population
from polyphony.simulation.world.rows import Rows

_SIDES = (-1, 1)


def planted_rows(population: Population, personas: Sequence[Persona], *, history: bool) -> Rows:
    """Rows of `planted_side` and, where histories are wanted, of `sided_text`; none where nobody knows the stances.

    Args:
        population: Whose generator knows them.
        personas: The people who are agents, in order.
        history: Whether the run records people's own words.

    Raises:
        InputError: The file that says which side texts take is damaged.
    """
    truth = population.truth
    issues = truth.issues
    sides = [
        {"agent_id": agent, "issue": issue, "side": truth.side(persona.handle, issue)}
        for agent, persona in enumerate(personas) for issue in issues
    ]  # fmt: skip
    facts = truth.texts if history and issues else {}
    sided = [
        {"issue": facts[act.id].subject, "side": facts[act.id].side, "split": split, "text": act.text}
        for persona in population.personas
        for split, acts in (("train", persona.train), ("held_out", persona.held_out))
        for act in acts
        if act.id in facts and facts[act.id].subject in issues and facts[act.id].side in _SIDES and not act.is_private
    ]  # fmt: skip
    return {
        "planted_side": sides,
        "sided_text": [{"sided_text_id": number, **row} for number, row in enumerate(sided, 1)],
    }
