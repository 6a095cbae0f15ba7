"""Simulated time: who is active when, who comes and who goes."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from polyphony.errors import InputError
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.world.clock import iso, make_clock, moment

START = datetime(2026, 3, 2, tzinfo=UTC)
PEOPLE = 400


def clock(**changes):
    morning = tuple(0.5 if hour in (8, 9) else 0.0 for hour in range(24))
    evenly = (1 / 24,) * 24
    people = [
        SimpleNamespace(acts_per_day=1.0 + 3.0 * (number % 2), hours=morning if number % 4 < 2 else evenly)
        for number in range(PEOPLE)
    ]
    return make_clock(people, **({"minutes": 60, "activation": 0.2, "seed": 1, "start": START} | changes))


def test_activations_follow_each_persons_rate_and_hours():
    made = clock()
    counts = np.zeros((PEOPLE, 24))
    for day in range(10):
        for hour in range(24):
            counts[made.active(24 * day + hour), hour] += 1
    morning = np.arange(PEOPLE) % 4 < 2
    assert counts[morning][:, [hour for hour in range(24) if hour not in (8, 9)]].sum() == 0
    expected = 10 * (1 - np.exp(-made.rates))
    assert np.abs(counts.sum(0) - expected.sum(0)).max() < 5 * np.sqrt(expected.sum(0).max())
    evenly = counts[~morning].sum(1)
    assert evenly[1::2].mean() > 3 * evenly[::2].mean(), "four times the rate, short of saturation"


def test_the_same_seed_activates_the_same_agents_in_any_order():
    assert [clock().active(step) for step in (5, 8)] == [clock().active(step) for step in (8, 5)][::-1]
    assert clock().active(8) != clock(seed=2).active(8)


def test_churn_and_late_arrival_have_their_rates():
    made = clock(churn=0.5, late=0.3)
    late = made.arrivals > 0
    assert late.mean() == pytest.approx(0.3, abs=0.08)
    assert made.arrivals[late].mean() == pytest.approx(1.0, abs=0.35)
    assert (made.departures - made.arrivals).mean() == pytest.approx(2.0, abs=0.4)
    for step in (0, 30, 80):
        day = step / 24
        for agent in made.active(step):
            assert made.arrivals[agent] <= day < made.departures[agent]
    assert np.isinf(clock().departures).all() and not clock().arrivals.any()


def test_times_are_utc_and_iso():
    made = clock(start=moment("2026-03-02T08:00+02:00"))
    assert iso(made.at(3)) == "2026-03-02T09:00:00Z"
    assert made.at(1) - made.at(0) == timedelta(hours=1)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"start": "yesterday"}, "--start 'yesterday' is not a moment"),
        ({"churn": -1.0}, "--churn"),
        ({"late": 2.0}, "--late"),
    ],
)
def test_wrong_settings_are_one_line(changes, reason):
    with pytest.raises(InputError, match=reason):
        RunSettings(population="town", agents=1, timesteps=1, **changes)
