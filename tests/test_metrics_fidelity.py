"""Fidelity, copies, timing, other graphs and references: known answers."""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from run_factory import RunFactory, planted_run
from sklearn.metrics import f1_score

from polyphony.metrics.core.registry import MEASUREMENTS
from polyphony.metrics.figures.fidelity import act_distance, next_act
from polyphony.metrics.figures.graphs import co_exposure_graph, follow_graph
from polyphony.metrics.figures.interactions import reciprocity
from polyphony.metrics.figures.leiden import leiden, weighted_edges
from polyphony.metrics.figures.memorisation import memorisation
from polyphony.metrics.figures.references import cascade_distance, ks_distance, reply_trees
from polyphony.metrics.figures.stance import stance_spread
from polyphony.metrics.figures.texts import encode_texts
from polyphony.metrics.figures.timing import community_windows, response_delay, rhythm_divergence
from polyphony.metrics.measure import measure_run
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData
from polyphony.scores import macro_f1

RNG = np.random.default_rng
SENTENCE = "the baker of the old mill sold seven warm loaves to the tall captain"


def loaded(run: RunFactory, tmp_path: Path) -> RunData:
    return load_run(run.write(tmp_path / "run.db"))


def acts_of(run: RunFactory, user: int, split: str, acts: list[str], **columns: Any) -> None:
    for act in acts:
        run.history(user, split, "some words" if act in ("post", "reply") else "")
        run.rows["history"][-1] |= {"act": act, **columns}


def test_acts_as_in_the_history_are_no_further_off_than_chance(tmp_path: Path) -> None:
    run, rng = RunFactory(30, timesteps=60), RNG(0)
    seed = run.seed_post(1)
    for user in range(1, 31):
        likes = rng.random()
        acts_of(run, user, "train", ["like"] * round(100 * likes) + ["post"] * round(100 * (1 - likes)))
        for _ in range(40):
            run.like(user, seed) if rng.random() < likes else run.post(user)
    found = act_distance(loaded(run, tmp_path), RNG(1))
    assert found.value == pytest.approx(found.null.mean, abs=0.02) and abs(found.null.z) < 3.5


def test_opposite_acts_are_as_far_off_as_can_be(tmp_path: Path) -> None:
    run = RunFactory(4)
    for user in range(1, 5):
        acts_of(run, user, "train", ["like"] * 9)
        run.post(user)
        run.nothing(user)  # a history holds no `nothing`: it does not count
    found = act_distance(loaded(run, tmp_path), RNG(0))
    assert found.value == 1.0 and found.null.mean == 0.0


def test_macro_f1_is_that_of_scikit_learn() -> None:
    rng = RNG(0)
    truth, guess = rng.choice(["a", "b", "c"], 90), rng.choice(["a", "b"], 90)
    expected = f1_score(truth, guess, average="macro")
    assert macro_f1(truth, guess, np.ones((1, 90)))[0] == pytest.approx(expected)
    weights = rng.integers(0, 3, 90).astype(float)
    assert macro_f1(truth, guess, weights[None])[0] == pytest.approx(
        f1_score(truth, guess, average="macro", sample_weight=weights)
    )


def test_next_act_is_known_where_people_never_change(tmp_path: Path) -> None:
    run = RunFactory(8)
    for user in range(1, 9):
        habit = "post" if user <= 4 else "reply"
        acts_of(run, user, "train", [habit] * 30)
        acts_of(run, user, "held_out", [habit] * 5)
        run.post(user)
        run.distribution({"nothing": 0.8, "post": 0.15, "reply": 0.05})
    figures = next_act(loaded(run, tmp_path), RNG(0))
    assert figures["next_act_f1_history"].value == figures["next_act_f1_trees"].value == 1.0
    assert figures["next_act_f1"].value == figures["next_act_f1_most_frequent"].value == pytest.approx(1 / 3)
    assert figures["next_act_f1"].n == 40


def test_copies_of_the_own_training_posts_are_found(tmp_path: Path) -> None:
    run = RunFactory(4)
    for user in range(1, 5):
        run.history(user, "train", f"{SENTENCE} and user{user} bought none of them at all today")
        run.history(user, "held_out", f"quite another thing happened to person{user} in spring")
        run.post(user, f"yes! user{user} bought none of them at all today, sadly")
    figures = memorisation(loaded(run, tmp_path), RNG(0))
    assert figures["copied_words_mean"].value == 8 and figures["copied_words_mean"].null.mean == 7
    assert figures["near_copy_rate"].value == 1.0
    assert figures["membership_gap"].value >= 8


def test_new_words_are_no_copies(tmp_path: Path) -> None:
    run = RunFactory(4)
    for user in range(1, 5):
        run.history(user, "train", SENTENCE)
        run.history(user, "held_out", SENTENCE)
        run.post(user, "nothing like that was ever written here before")
    figures = memorisation(loaded(run, tmp_path), RNG(0))
    assert figures["near_copy_rate"].value == 0.0 and figures["membership_gap"].value == 0.0


def test_delay_counts_timesteps_in_hours_and_leaves_seed_posts_out(tmp_path: Path) -> None:
    run = RunFactory(3, config=json.dumps({"minutes": 90}))
    post, seed = run.post(1), run.seed_post(2)
    run.nothing(3)
    run.comment(3, post)  # timestep 1, the post was written at 0
    run.nothing(2)
    run.nothing(2)
    run.repost(2, post)  # timestep 2
    run.comment(3, seed)
    found = response_delay(loaded(run, tmp_path), RNG(0))
    assert (found.value, found.n) == (pytest.approx((1.5 + 3.0) / 2), 2)


def test_communities_that_stay_persist_and_shuffled_ones_do_not(tmp_path: Path) -> None:
    found = []
    for stays in (True, False):
        run = RunFactory(24, timesteps=8)
        posts = [run.post(user) for user in range(1, 25)]
        for _ in range(3):
            for user in range(1, 25):
                group = (user - 1) // 6 * 6
                run.comment(user, posts[group + user % 6])
        for _ in range(4):
            for user in range(1, 25):
                group = (user - 1) // 6 * 6 if stays else 0
                partner = group + user % 6 if stays else (user - 1 + 6) % 24
                run.comment(user, posts[partner])
        found.append(community_windows(load_run(run.write(tmp_path / f"{stays}.db")), RNG(0)))
    stays, turns = (each["community_persistence"] for each in found)
    assert stays.value == pytest.approx(1.0) and stays.null.z > 5
    assert turns.value < 0.5 and turns.null.z < 0
    for each in found:
        assert each["effective_communities_first_half"].value == pytest.approx(4.0)
        assert each["modularity_first_half"].value == pytest.approx(0.75)  # four rings of six apart
    assert found[0]["effective_communities_second_half"].value == pytest.approx(4.0)
    assert found[1]["modularity_second_half"].value != pytest.approx(0.75, abs=0.01)


def test_rhythm_of_the_history_itself_is_within_its_null(tmp_path: Path) -> None:
    run, rng = RunFactory(400, timesteps=24, config=json.dumps({"minutes": 60})), RNG(0)
    shares = rng.dirichlet(np.ones(24))
    for hour in rng.choice(24, 400, p=shares):
        run.history(1, "train", "words")
        run.rows["history"][-1]["created_at"] = f"2026-01-05T{hour:02d}:00:00Z"
    for user, hour in enumerate(rng.choice(24, 400, p=shares), 1):
        run.timestep[user] = (int(hour) - 8) % 24 - 1  # the run begins at eight
        run.post(user)
    run.timestep[1] = 4
    for _ in range(19):
        run.nothing(1)  # no act: when agents are activated is not theirs to choose
    near = rhythm_divergence(loaded(run, tmp_path), RNG(0))
    assert near.n == 400 and abs(near.null.z) < 3.5
    for row in run.rows["activation"]:
        row["timestep"] = (row["timestep"] + 12) % 24
    assert rhythm_divergence(load_run(run.write(tmp_path / "far.db")), RNG(0)).null.z > 10


def test_follow_and_co_exposure_graphs_hold_what_was_recorded(tmp_path: Path) -> None:
    run = RunFactory(4, outsiders=1)
    run.follow(1, 2, timestep=-1)
    run.follow(2, 1)
    run.follow(3, 5)  # no agent
    posts = [run.post(4) for _ in range(3)]
    for user in (1, 2):
        for post in posts:
            run.show(user, post)
    run.show(3, posts[0])
    data = loaded(run, tmp_path)
    assert list(follow_graph(data).edges) == [(1, 2)]
    assert list(co_exposure_graph(data, RNG(0)).edges(data="weight")) == [(1, 2, 3)]


def test_leiden_finds_two_cliques_and_agrees_with_louvain(tmp_path: Path) -> None:
    graph = nx.disjoint_union(nx.complete_graph(5), nx.complete_graph(5))
    nx.set_edge_attributes(graph, 1, "weight")
    graph.add_edge(0, 5, weight=1)
    _, found = leiden(weighted_edges(graph))
    assert len({found[node] for node in range(5)}) == 1 and found[0] != found[5]
    figures = measure_run(planted_run().write(tmp_path / "run.db")).measurements
    assert figures["leiden_louvain_nmi"].value > 0.9
    assert figures["leiden_effective_communities"].value == pytest.approx(
        figures["effective_communities"].value, rel=0.1
    )


def test_follows_and_exposures_of_two_planted_groups_show_two_communities(tmp_path: Path) -> None:
    run = RunFactory(16)
    groups = [list(range(1, 9)), list(range(9, 17))]
    for number, group in enumerate(groups):
        posts = [run.post(group[0]) for _ in range(3)]
        for user in group:
            run.rows["agent"][user - 1]["community"] = number
            for post in posts:
                run.show(user, post)
            for other in group:
                if other != user:
                    run.follow(user, other, timestep=-1)
    run.follow(1, 9)
    figures = measure_run(run.write(tmp_path / "run.db")).measurements
    graph, weights = nx.Graph(), {}
    for group in groups:
        weights |= dict.fromkeys(combinations(group, 2), 2)
    graph.add_weighted_edges_from((*pair, weight) for pair, weight in (weights | {(1, 9): 1}).items())
    assert figures["follow_modularity"].value == pytest.approx(nx.community.modularity(graph, groups))
    assert figures["follow_modularity"].null is not None and figures["follow_modularity"].null.z > 3
    assert figures["follow_louvain_stability"].value == pytest.approx(1.0)
    assert figures["co_exposure_modularity"].value == pytest.approx(0.5)
    for kind in ("follow", "co_exposure"):
        assert figures[f"{kind}_communities"].value == 2
        assert figures[f"{kind}_effective_communities"].value == pytest.approx(2.0)
        for agreement in ("nmi", "ari"):
            found = figures[f"{kind}_planted_{agreement}"]
            assert found.value == pytest.approx(1.0) and found.null.z > 3 and found.n == 16


def test_every_z_is_of_its_own_value_and_null(tmp_path: Path) -> None:
    with_null = 0
    for name, figure in measure_run(planted_run().write(tmp_path / "run.db")).measurements.items():
        if figure.null is not None and figure.null.z is not None:
            assert figure.null.z == pytest.approx((figure.value - figure.null.mean) / figure.null.sd), name
            with_null += 1
    assert with_null > 10


def test_finer_resolutions_find_more_communities() -> None:
    edges = [(left, right, 1.0) for left, right in nx.ring_of_cliques(30, 5).edges]
    counts = [len(set(leiden(edges, resolution)[1].values())) for resolution in (0.5, 1.0, 2.0)]
    assert counts[0] < counts[1] < counts[2] == 30


def test_returned_ties_exceed_the_configuration_model(tmp_path: Path) -> None:
    run = RunFactory(20, timesteps=2)
    posts = [run.post(user) for user in range(1, 21)]
    for user in range(1, 21):
        run.comment(user, posts[(user - 1) ^ 1])  # everybody answers their neighbour, and is answered
    found = reciprocity(loaded(run, tmp_path), RNG(0))
    assert found.value == 1.0 and found.null.mean < 0.2 and found.null.z > 5


def test_stance_spread_is_small_where_communities_are_of_one_mind(tmp_path: Path) -> None:
    run = planted_run()
    for agent in run.rows["agent"]:
        agent["community"] = int(agent["agent_id"] >= 12)
    for user in range(1, 25):
        for text in ("bread and flour of the oven" if user <= 12 else "the engine and its brakes",) * 4:
            run.history(user, "train", text)
    found = stance_spread(loaded(run, tmp_path), RNG(0))
    assert found.n == 24 and found.value < 0.5 * found.null.mean and found.null.z < -5


def test_homophily_holds_under_a_second_encoder(tmp_path: Path) -> None:
    path = planted_run().write(tmp_path / "run.db")
    figures = measure_run(path).measurements
    for name in ("within_community_homophily", "within_community_homophily_characters"):
        assert figures[name].value > 0.05 and figures[name].null.z > 5
    data = load_run(path)
    assert "characters" in (encode_texts(data, "characters").encoder or "")


def test_reference_trees_are_at_no_distance_from_themselves(tmp_path: Path) -> None:
    assert ks_distance([6] * 5 + [12] * 5, {6: 1.0, 9: 0.5, 12: 0.5}) == 0.0
    assert ks_distance([6] * 10, {6: 1.0, 9: 0.5, 12: 0.25}) == 0.5
    assert (
        reply_trees()["twitter"]["trees"] == 7645 and "delab-trees" in reply_trees()["provenance"]["citation"].lower()
    )
    run = RunFactory(30)
    for _ in range(2):
        post = run.post(1)
        for user in range(2, 8):
            run.comment(user, post)
    for user in range(2, 30):
        run.repost(user, post)  # the real trees hold replies alone
        run.quote(user, 1, "words")
    found = cascade_distance(loaded(run, tmp_path), RNG(0))
    assert found["cascade_ks_twitter"].n == 2 and 0 < found["cascade_ks_twitter"].value < 1


@pytest.mark.parametrize("agents", [1, 3])
def test_degenerate_runs_have_reasons_and_no_zeros(tmp_path: Path, agents: int) -> None:
    run = RunFactory(agents)
    for user in range(1, agents + 1):
        run.nothing(user)
    figures = measure_run(run.write(tmp_path / "run.db")).measurements
    assert list(figures) == list(MEASUREMENTS)
    for name in MEASUREMENTS[MEASUREMENTS.index("leiden_effective_communities") :]:
        assert figures[name].value is None and figures[name].reason, name


def test_two_computations_give_equal_json(tmp_path: Path) -> None:
    path = planted_run().write(tmp_path / "run.db")
    assert json.dumps(measure_run(path).to_json()) == json.dumps(measure_run(path).to_json())


def test_what_has_no_interval_or_no_null_says_why(tmp_path: Path) -> None:
    told = measure_run(planted_run().write(tmp_path / "run.db")).to_json()
    for lacks, kind in (("without_interval", "interval"), ("without_null", "null")):
        named = [name for names in told["methods"][lacks].values() for name in names]
        figures = told["measurements"]
        assert sorted(named) == sorted(
            name for name, each in figures.items() if each["value"] is not None and each[kind] is None
        )
        assert not any(reason.startswith("too few") for reason in told["methods"][lacks])


def test_the_first_computation_of_a_process_is_like_the_next(tmp_path: Path) -> None:
    path = planted_run().write(tmp_path / "run.db")
    code = "import sys; from polyphony.metrics.measure import measure_run as m; "
    code += "a, b = (m(sys.argv[1]).to_json() for _ in 'ab')"
    asked = [sys.executable, "-c", f"{code}; print(a == b)", str(path)]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == "True\n"
