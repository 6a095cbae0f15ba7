"""Which prompts are learned in one optimiser step."""

from dataclasses import dataclass
from types import SimpleNamespace

from polyphony.adapters.training.trainer import _steps
from polyphony.personas.people.acts import Verb


@dataclass
class Rows:
    """Rows of one example each, by their verbs."""

    verbs: list[Verb]

    @property
    def examples(self):
        return [SimpleNamespace(verb=verb) for verb in self.verbs]

    def members(self, rows):
        return list(rows)


def test_moments_without_an_act_join_the_steps_of_acts():
    none, post = Verb.NOTHING, Verb.POST
    assert _steps(Rows([post, none, post, post, post, none]), range(6)) == [[0, 1], [2], [3, 5], [4]]
    assert _steps(Rows([none, none]), range(2)) == [[0], [1]]
    assert _steps(Rows([post, post]), [1]) == [[1]]
