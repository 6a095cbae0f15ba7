"""The first texts of a run are shown while it works."""

from polyphony.personas.people.acts import Verb
from polyphony.simulation.cli.console import LINE_CHARACTERS, Reporter
from polyphony.simulation.policies.policy import Decision, Observation
from polyphony.simulation.runs.first_texts import with_first_texts

NAMES = ["ann", "bea", "cy", "dot", "eve"]


def observed(*agents):
    return [Observation(agent, 0, [], {}, ()) for agent in agents]


def test_texts_of_the_first_timestep_with_any_are_shown_once():
    texts = {1: "one", 2: "two", 3: "three", 4: "four"}
    decided, shown = [], []

    def decision(agent):
        return Decision(Verb.POST, text=texts[agent]) if agent in texts else Decision(Verb.SEARCH, text="cats")

    def decide(pending):
        decided.append([[decision(seen.agent) for seen in observations] for _, observations in pending])
        return decided[-1]

    deciding = with_first_texts(decide, NAMES, lambda handle, text: shown.append((handle, text)))
    assert deciding([(None, observed(0))]) is decided[0] and not shown
    assert deciding([(None, observed(0, 4)), (None, observed(1, 2, 3))]) is decided[1]
    deciding([(None, observed(1))])
    assert shown == [("eve", "four"), ("bea", "one"), ("cy", "two")]


def test_a_hostile_text_is_one_short_line(capsys):
    Reporter().show_text("ann", "[bold]\x1b[31m red\n" + "x" * 300)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("  @ann: [bold][31m red xxx") and len(line) == LINE_CHARACTERS and line.endswith("…")
