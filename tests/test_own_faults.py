"""Faults of our own that ended in a traceback, or in an exit code that did not say what happened."""

import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from null_run_factory import null_runner, null_settings, rows
from test_lifecycle import BETTER, WORSE, made

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.model.routing import Route, Routing, route_of
from polyphony.personas.people.acts import Verb
from polyphony.simulation.policies.history_frequencies import HistoryFrequencies
from polyphony.simulation.policies.null_policy import NullPolicy
from polyphony.simulation.policies.policy import Observation


@pytest.mark.parametrize("actions", ["post", "search", "dislike,trend", "follow", "post,nothing"])
def test_a_menu_without_doing_nothing_runs(tmp_path, actions):
    # Where no act is possible at the moment, as following when everybody is followed, doing nothing is.
    expected = {*actions.split(","), "nothing"}
    settings = null_settings(agents=6, timesteps=3, actions=actions, activation=3.0)
    null_runner(6).run(settings, tmp_path / "run.db", resume=False)
    acts = {act for (act,) in rows(tmp_path / "run.db", "SELECT act FROM activation")}
    assert acts and acts <= expected


def test_a_person_who_did_none_of_the_offered_acts_draws_among_them_or_does_nothing(town):
    frequencies = HistoryFrequencies(town.personas[:1], most=24, nothing=0.0)
    never = [Verb.SEARCH, Verb.TREND]
    assert frequencies.shares(0, never).tolist() == [0.5, 0.5]
    assert frequencies.shares(0, [*never, Verb.NOTHING]).tolist() == [0.0, 0.0, 1.0]
    some = frequencies.shares(0, [Verb.POST, Verb.LIKE, Verb.NOTHING])
    assert some[2] == 0.0 and np.isclose(some.sum(), 1.0)


def test_a_person_without_posts_has_no_text_to_repeat(town):
    silent = replace(town.personas[0], acts=(), train_end=0, validation_end=0)
    (decision,) = NullPolicy([silent], seed=0).decide([Observation(0, 0, [], {Verb.POST: []})])
    assert (decision.verb, decision.text) == (Verb.POST, "")


def test_routes_on_two_devices_are_not_compared():
    """The meta device stands for a GPU: comparing its tensors with those of main memory fails in the same way."""
    routing = Routing()
    routing.set(Route(torch.tensor([0, 1, 2], device="meta")))
    routing.set(route_of([0, 1, 2]))
    assert routing.changed is None and routing.version == 2
    routing.set(route_of([0, 2, 2]))
    assert routing.changed is not None and routing.changed.tolist() == [1]


def test_promoting_everybody_in_a_bank_that_cannot_be_written_fails(bank, simulate, monkeypatch):
    made(bank, "t1", BETTER)
    monkeypatch.setattr("polyphony.adapters.bank.catalog._may_write", lambda path: False)
    code, out, err = simulate("bank", "promote", "--all", "--force", "--bank", bank.directory)
    assert (code, len(err)) == (2, 1) and "read-only" in err[0]
    assert out == "0 revisions serve\n"


def test_who_comes_second_in_promoting_everybody_says_what_serves(bank, simulate, monkeypatch):
    one, two = made(bank, "t1", BETTER), made(bank, "t2", WORSE, person="bob")
    listed = Bank.revisions

    def overtaken(self, **which):
        revisions = listed(self, **which)
        with closing(Bank(bank.directory)) as other:
            other.promote(one.adapter_id, one.number)
        return revisions

    monkeypatch.setattr(Bank, "revisions", overtaken)
    code, out, _ = simulate("bank", "promote", "--all", "--bank", bank.directory)
    assert code == 0 and out.startswith("1 revisions serve\n") and two.name in out


def test_damaged_weights_end_promoting_everybody(bank, simulate):
    whole, damaged = made(bank, "t1", BETTER), made(bank, "t2", BETTER, person="zoe")
    bank.objects.path(damaged.object).unlink()
    code, out, err = simulate("bank", "promote", "--all", "--bank", bank.directory)
    assert (code, len(err), out) == (2, 1, "1 revisions serve\n") and damaged.object[:8] in err[0]
    assert bank.serving(whole.adapter_id) is not None


def test_two_who_promote_everybody_at_once_both_end_well(bank, simulate):
    for number in range(12):
        made(bank, f"t{number}", BETTER, person=f"p{number}")
    failures = []

    def promote_all():
        from polyphony.simulation.cli.bank import bank_promote

        try:
            bank_promote(everybody=True, bank=bank.directory)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=promote_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and {revision.status for revision in bank.revisions()} == {"serving"}
