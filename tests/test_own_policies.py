"""Policies of a plug-in: a run takes them by name, and an impossible decision is one line that names them."""

from itertools import count
from pathlib import Path

import pytest
from null_run_factory import rows

from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.errors import InputError
from polyphony.metrics.runfile.digest import run_digest
from polyphony.personas.people.acts import Verb
from polyphony.plugins import load_plugins
from polyphony.simulation.policies.decisions import check_decisions
from polyphony.simulation.policies.policy import Decision, Observation
from polyphony.simulation.policies.registry import POLICIES, PolicyContext, make_policy
from polyphony.simulation.runs.fork import Fork
from polyphony.simulation.runs.recorded import settings_of
from polyphony.simulation.runs.runner import Hooks, Runner
from polyphony.simulation.runs.settings import RunSettings

NUMBERS = count()
RULES = """
from polyphony.personas.people.acts import Verb
from polyphony.simulation.policies.policy import Decision
from polyphony.simulation.policies.registry import policy

@policy("{name}")
class LikesFirst:
    def __init__(self, context):
        self.names = [persona.handle for persona in context.personas]

    def decide(self, observations):
        return [self.decision(observation) for observation in observations]

    def decision(self, observation):
        {first}
        if Verb.LIKE in observation.targets:
            return Decision(Verb.LIKE, position=observation.targets[Verb.LIKE][0])
        return Decision(Verb.POST, text=self.names[observation.agent] + " liked everything")
"""


def loaded(folder, first="pass"):
    """Load a plug-in under a name of its own, since a process has one registry; returns the name."""
    name = f"rules-{next(NUMBERS)}"
    path = folder / f"{name}.py"
    path.write_text(RULES.format(name=name, first=first))
    load_plugins([str(path)])
    return name


def settings(policy, **changes):
    return RunSettings(population="town", policy=policy, **{"agents": 8, "timesteps": 3, "activation": 3.0} | changes)


@pytest.fixture(scope="module")
def runner():
    """Neither a bank nor a base model is there."""
    nowhere = Path("/nowhere")
    return Runner(settings("null"), bank=nowhere, base_model=nowhere, device="cpu", dtype="fp32", hooks=Hooks())


def test_a_rule_based_policy_runs_without_a_model(runner, tmp_path):
    name = loaded(tmp_path)
    out = tmp_path / "run.db"
    runner.run(settings(name, timesteps=6), out, resume=False)
    acts = dict(rows(out, "SELECT act, count(*) FROM activation WHERE outcome = 'ok' GROUP BY act"))
    assert set(acts) == {"like", "post"} and acts["like"] > acts["post"] > 0
    assert rows(out, "SELECT count(*) FROM activation WHERE outcome <> 'ok'") == [(0,)]
    assert rows(out, "SELECT arm, base_model, bank_digest FROM run") == [(name, None, None)]
    handles = {persona.handle for persona in runner.personas}
    texts = rows(out, "SELECT content FROM post WHERE NOT is_seed AND original_post_id IS NULL")
    assert texts and {text.removesuffix(" liked everything") for (text,) in texts} <= handles


def test_such_a_run_resumes_and_forks_to_the_same_run(runner, tmp_path):
    name = loaded(tmp_path)
    whole, parts, fork = (tmp_path / file for file in ("whole.db", "parts.db", "fork.db"))
    runner.run(settings(name), whole, resume=False)
    runner.run(settings(name, timesteps=1), parts, resume=False)
    runner.run(settings(name), parts, resume=True)
    assert run_digest(parts) == run_digest(whole)
    assert settings_of(whole) == settings(name)
    runner.run(settings_of(whole), fork, resume=False, fork=Fork(whole, 2))
    acts = "SELECT timestep, agent_id, act, outcome, target_post_id FROM activation ORDER BY activation_id"
    assert rows(fork, acts) == rows(whole, acts)


def test_a_failure_and_words_that_cannot_be_printed_are_recorded(runner, tmp_path):
    first = (
        "return Decision(None, failure='no idea') if observation.agent % 2 else Decision(Verb.POST, text=' \\u202e')"
    )
    out = tmp_path / "run.db"
    runner.run(settings(loaded(tmp_path, first)), out, resume=False)
    outcomes = rows(out, "SELECT DISTINCT agent_id % 2, act, outcome, reason FROM activation ORDER BY 1")
    assert outcomes == [
        (0, "post", "refused", "Value error, no printable text"), (1, None, "failed", "no idea"),
    ]  # fmt: skip


def test_an_impossible_decision_ends_the_run_before_its_timestep_is_written(runner, tmp_path):
    name = loaded(tmp_path, "if observation.timestep == 1: return Decision(Verb.REPLY, position=99, text='hello')")
    out = tmp_path / "run.db"
    with pytest.raises(InputError, match=rf"policy '{name}', agent \d+, timestep 1: position 99 is not possible"):
        runner.run(settings(name), out, resume=False)
    assert rows(out, "SELECT max(timestep) FROM activation") == [(0,)]


OBSERVATION = Observation(
    4, 7, [FeedItem("ada", "hello"), FeedItem("bob", "hi")], {Verb.POST: [], Verb.LIKE: [2], Verb.NOTHING: []}
)


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        (Decision(Verb.QUOTE, position=1, text="x"), "the verb 'quote' is not possible now; possible are post, like"),
        (Decision("like", position=2), "verb 'like' is not a Verb"),
        (Decision(Verb.LIKE), "position None is not possible for 'like'; possible are 2"),
        (Decision(Verb.LIKE, position=1), "position 1 is not possible for 'like'; possible are 2"),
        (Decision(Verb.POST, position=1, text="x"), "the verb 'post' has no target, but position is 1"),
        (Decision(Verb.POST, text=None), "text is a NoneType, not a str"),
        (Decision(None), "must say in `failure` why"),
        (Decision(Verb.NOTHING, distribution={Verb.QUOTE: 1.0}), "names quote, which is not possible now"),
        (Decision(Verb.NOTHING, distribution={Verb.NOTHING: 0.5}), "must sum to 1; its sum is 0.5"),
        (Decision(Verb.NOTHING, distribution={Verb.NOTHING: float("nan")}), "floats from 0 to 1; its values are nan"),
        (Decision(Verb.NOTHING, distribution=[1.0]), "distribution is a list"),
        ("like", "str is not a Decision"),
    ],
)
def test_what_cannot_be_meant_is_one_line(decision, reason):
    with pytest.raises(InputError) as error:
        check_decisions("mine", [OBSERVATION], [decision])
    assert str(error.value).startswith("policy 'mine', agent 4, timestep 7: ")
    assert reason in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("decisions", [[], None, [Decision(Verb.NOTHING)] * 2])
def test_there_is_one_decision_for_each_observation(decisions):
    with pytest.raises(InputError, match="policy 'mine': decide returned .* for 1 observations"):
        check_decisions("mine", [OBSERVATION], decisions)


def test_a_possible_decision_is_let_through():
    check_decisions("mine", [OBSERVATION], [Decision(Verb.LIKE, position=2, distribution={Verb.LIKE: 1.0})])


def test_the_context_says_what_a_policy_is_made_from(town):
    context = PolicyContext(town.personas[:2], 5, (Verb.POST, Verb.NOTHING), settings("null").as_mapping())
    (decision,) = make_policy("null", context).decide([Observation(0, 0, [], {Verb.POST: [], Verb.NOTHING: []})])
    assert decision.verb in (Verb.POST, Verb.NOTHING)
    assert context.settings["feed"]["recommender"] == "attention" and context.settings["timesteps"] == 3
    with pytest.raises(ValueError, match="needs a model"):
        make_policy("engine", context)


def test_what_comes_with_polyphony_is_registered_and_says_whether_it_needs_a_model():
    needs = {name: POLICIES.get(name).needs_model for name in ("engine", "camel", "null")}
    assert needs == {"engine": True, "camel": True, "null": False}


def test_a_factory_that_makes_no_policy_and_an_unknown_name_are_one_line(tmp_path, town):
    path = tmp_path / "broken.py"
    path.write_text(
        "from polyphony.simulation.policies.registry import policy\n\n@policy('broken')\ndef broken(context): ...\n"
    )
    load_plugins([str(path)])
    context = PolicyContext(town.personas[:2], 0, (Verb.POST,), {})
    with pytest.raises(InputError, match="policy 'broken': its factory returned a NoneType without a method decide"):
        make_policy("broken", context)
    with pytest.raises(InputError, match=r"--policy 'magic' is not one of .*camel, engine.*nor of a plug-in"):
        settings("magic")


@pytest.mark.parametrize("first, reason", [("1 / 0", "ZeroDivisionError in line 15: division by zero")])
def test_an_exception_of_a_policy_is_one_line_that_names_it(runner, tmp_path, first, reason):
    name = loaded(tmp_path, first)
    with pytest.raises(InputError, match=f"policy '{name}': {reason}"):
        runner.run(settings(name), tmp_path / "run.db", resume=False)
