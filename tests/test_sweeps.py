"""The stability sweep: its plan, its choice of rates, and what its report makes of the results."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import t

from benchmarks import reinforcement_pages as pages
from polyphony.adapters.reinforcement.curves import Curve
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.sweep.plan import CHOICE, FINAL, SweepCell, load_sweep_plan
from polyphony.adapters.reinforcement.sweep.sweep import _chosen
from polyphony.errors import InputError
from polyphony.metrics.sweeps.claims import CAME_OUT, CONTRARY, OPEN, claims_of
from polyphony.metrics.sweeps.comparisons import (
    cells_of,
    collapse_odds,
    mean_of,
    share_interval,
    spread_tests,
    start_differences,
)
from polyphony.metrics.sweeps.report import write_report
from polyphony.metrics.sweeps.results import read_sweep
from polyphony.simulation.cli.main import main

COMMITTED, FOR_A_GPU = Path("data/studies/stability.toml"), Path("data/studies/stability-gpu.toml")
SMALL = """
updates = 2
samples = 2
evaluate_every = 1
test_answers = 8
rates = [1e-3, 3e-3]
equal_rate = 1e-3
choosing_seeds = 1
seeds = 3
[[blocks]]
tasks = ["products"]
inits = ["standard"]
ranks = [1]
prompts = [2]
"""


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(SMALL)
    return path


def results_of(directory, outcome, ranks=(1, 16), starts=("standard", "olora-tail"), seeds=6, parts=1):
    """A sweep's directory as the command writes it, with outcomes of (init, rank, seed) instead of learned ones."""
    plan = json.loads(json.dumps({"rates": [1e-3], "equal_rate": 1e-3, "choosing_seeds": 2, "updates": 50, "samples": 8,
                                  "test_answers": 128, "scaling": "rslora"}))  # fmt: skip
    facts = {"base_model": "base", "dtype": "bf16", "parts": [["products", 4], ["sums", 4]], "plan": plan}
    directory.mkdir(exist_ok=True)
    (directory / "plan.json").write_text(json.dumps(facts))
    adapters = {}
    for init in starts:
        for rank in ranks:
            for seed in range(seeds):
                last, collapsed = outcome(init, rank, seed)
                own = {"init": init, "rank": rank, "lr": 1e-3, "prompts": 4, "seed": seed}
                adapters[f"{init}-{rank}-{seed}"] = {
                    "plan": own, "start": 0.2, "last": last, "chosen": last, "collapsed": collapsed, "stopped": False,
                }  # fmt: skip
    content = {"rates": [[init, rank, 1e-3] for init in starts for rank in ranks], "adapters": adapters}
    for task in ("products", "sums")[:parts]:
        (directory / f"{task}-4-final.json").write_text(json.dumps(content))
    return read_sweep(directory)


def noise(seed, spread=0.02):
    return float(np.random.default_rng(seed).normal(scale=spread))


def test_the_committed_plan_holds_what_its_page_names():
    plan = load_sweep_plan(COMMITTED)
    cells = plan.cells()

    assert len(plan.rates) >= 4 and plan.seeds == 6 and plan.updates / plan.evaluate_every >= 10
    wanted = {
        SweepCell(task, prompts, init, rank)
        for task in ("products", "sums") for prompts in (4, 16) for init in ("standard", "olora-tail", "tail-a")
        for rank in (1, 4, 16)
    }  # fmt: skip
    assert wanted <= set(cells) and len(cells) == len(set(cells))


def test_the_plan_for_a_gpu_has_every_rank_that_the_starts_have_room_for():
    plan, committed = load_sweep_plan(FOR_A_GPU), load_sweep_plan(COMMITTED)
    ranks = {(cell.init, cell.rank) for cell in plan.cells()}
    every = [2**power for power in range(9)]

    assert ranks == {("standard", rank) for rank in every} | {("olora-tail", rank) for rank in every if rank <= 192}
    assert {cell.prompts for cell in plan.cells()} == {64} and len(plan.cells()) * plan.seeds == 204
    shared = ("samples", "rates", "equal_rate", "seeds", "choosing_seeds", "test_answers", "scaling", "evaluate_every")
    assert all(getattr(plan, name) == getattr(committed, name) for name in shared)


def test_each_start_and_rank_chooses_its_rate_once_on_seeds_that_are_not_reported():
    plan = load_sweep_plan(COMMITTED)
    parts = list(plan.parts())
    choosing = [(cell.task, cell.init, cell.rank) for part in parts if part.stage == CHOICE for cell in part.cells]

    assert sorted(choosing) == sorted({(cell.task, cell.init, cell.rank) for cell in plan.cells()})
    assert [cell for part in parts if part.stage == FINAL for cell in part.cells] == plan.cells()
    part = parts[0]
    assert part.stage == CHOICE and {cell.prompts for cell in part.cells} == {4}
    seeds = {adapter.seed for adapter in plan.choosing(part)}
    assert not seeds & {adapter.seed for adapter in plan.final(part.cells[0], 3e-3)}
    names = [adapter.name for adapter in plan.choosing(part)]
    assert len(names) == len(set(names)) == len(part.cells) * len(plan.rates) * plan.choosing_seeds


def test_the_rate_is_chosen_by_the_last_validation_and_never_by_test(plan_file):
    plan = load_sweep_plan(plan_file)
    part = next(plan.parts())
    results = {}
    for adapter in plan.choosing(part):
        better = adapter.lr == 3e-3
        curve = Curve()
        curve.success["validation"] |= {0: 0.9 if not better else 0.1, 2: 0.5 if better else 0.4}
        curve.success["test"] |= {0: 0.2, 2: 0.1 if better else 0.9}
        results[adapter.name] = (adapter, curve)

    assert _chosen(plan, part, results) == {("products", "standard", 1): 3e-3}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"products"', '"poems"', "blocks.0.tasks: Value error, --task 'poems' is not one of"),
        ('"standard"', '"warm"', "blocks.0.inits: Value error, --init 'warm' is not one of"),
        ("equal_rate = 1e-3", "equal_rate = 2e-3", "equal_rate 0.002 is not among rates"),
        ("ranks = [1]", "ranks = [0]", "blocks.0.ranks.0: Input should be greater than or equal to 1"),
        ("seeds = 3\n", "seeds = 1000\n", None),
        ("updates = 2", "updates = 2\nspeed = 3", "speed: Extra inputs are not permitted; a plan has updates"),
        ("rates = [1e-3, 3e-3]", "rates = [inf]", "rates.0: Input should be less than or equal to 1"),
        ("samples = 2", 'samples = 2\nscaling = "root"', "scaling: Value error, --scaling 'root' is not one of"),
        ("rates = [1e-3, 3e-3]", "rates = [1e-3, 1e-3]", "rates: Value error, a rate stands there twice"),
        (
            "ranks = [1]\nprompts = [2]",
            f"ranks = {[1] * 30_000}\nprompts = {[2] * 30_000}",
            "900,000,000 cells; give at most 20,000",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_its_file_and_key(plan_file, before, after, said, tmp_path, capsys):
    plan_file.write_text(SMALL.replace(before, after))
    if said is None:
        assert load_sweep_plan(plan_file).seeds == 1000
        return
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", str(plan_file), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert str(plan_file) in error.replace("\n", "")
    assert said in " ".join(error.split())
    assert not (tmp_path / "out").exists()


def test_a_sweep_runs_is_reported_and_does_not_learn_again(plan_file, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    main(["sweep", str(plan_file), "--out", str(out)])
    written = (out / "report.md").read_text()
    results = read_sweep(out)

    assert "Not run yet" not in written and (out / "report.svg").read_text().startswith("<?xml")
    assert set(results.adapters["seed"]) == {0, 1, 2} and results.best["is_best"].all()
    assert len(results.equal) == 3 and not results.absent

    taken = tmp_path / "taken"
    pages.take_sweep(out, taken)
    (taken / "products-2-final.json").unlink()
    main(["sweep", str(plan_file), "--out", str(taken)])
    assert read_sweep(taken).adapters.equals(results.adapters), "what is committed goes on where the sweep stood"

    def fails(self, **more):
        raise AssertionError("nothing must be learned again")

    monkeypatch.setattr(Reinforcement, "run", fails)
    main(["sweep", str(plan_file), "--out", str(out)])
    assert (out / "report.md").read_text() == written
    main(["sweep", str(plan_file), "--out", str(out), "--report"])
    plan_file.write_text(SMALL.replace("updates = 2", "updates = 3"))
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", str(plan_file), "--out", str(out)])
    assert "holds a sweep of other settings" in " ".join(capsys.readouterr().err.split())


def test_a_directory_without_a_sweep_is_refused(plan_file, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for words, said in (
        (["--out", str(tmp_path / "other")], "holds files but no sweep"),
        (["--out", str(tmp_path / "absent"), "--report"], "no such directory"),
        (["--out", str(tmp_path / "other"), "--report"], "holds no sweep"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["sweep", str(plan_file), *words])
        assert said in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"


def test_results_that_cannot_be_read_are_named(tmp_path):
    results_of(tmp_path, lambda *_: (0.5, False))
    (tmp_path / "products-4-final.json").write_text('{"rates": 3}')
    with pytest.raises(InputError, match="its results cannot be read"):
        read_sweep(tmp_path)
    (tmp_path / "products-4-final.json").unlink()
    with pytest.raises(InputError, match="no part of the sweep has run to its end"):
        read_sweep(tmp_path)


def test_means_have_students_interval():
    values = [0.1, 0.2, 0.4, 0.4]
    half = t.ppf(0.975, 3) * np.std(values, ddof=1) / 2
    mean = mean_of(values)

    assert mean.value == pytest.approx(0.275) and mean.n == 4
    assert mean.interval == pytest.approx((0.275 - half, 0.275 + half))
    assert mean_of([0.3]).interval is None and mean_of([0.3, 0.3]).interval is None


def test_differences_are_paired_by_seed_and_corrected(tmp_path):
    """The seed moves both starts alike by far more than the start does: unpaired, nothing would be told apart."""
    results = results_of(
        tmp_path,
        lambda init, rank, seed: (0.1 * seed + (0.05 if init == "olora-tail" else noise(seed + rank, 1e-4)), False),
    )
    differences = start_differences(results.best)

    assert [d.key for d in differences] == [("products", 4, 1), ("products", 4, 16)]
    assert all(d.mean.value == pytest.approx(0.05, abs=1e-3) and d.verdict == 1 for d in differences)
    assert all(d.p_holm >= d.p for d in differences)
    assert max(d.p_holm for d in differences) == pytest.approx(max(2 * min(d.p for d in differences),
                                                                   max(d.p for d in differences)))  # fmt: skip


def test_spread_is_compared_by_brown_and_forsythe(tmp_path):
    results = results_of(tmp_path, lambda init, rank, seed: (0.5 + noise(seed, 0.2 if rank == 1 else 0.001), False))
    tests = {test.what: test for test in spread_tests(results.best)}
    test = tests["standard, by rank: 1 and 16"]
    groups = [results.best.query(f"init == 'standard' and rank == {rank}")["last"].to_numpy() for rank in (1, 16)]
    away = [abs(group - np.median(group)) for group in groups]
    grand = np.mean(np.concatenate(away))
    between = sum(6 * (part.mean() - grand) ** 2 for part in away)
    within = sum(((part - part.mean()) ** 2).sum() for part in away) / 10

    assert test.p == pytest.approx(f_distribution.sf(between / within, 1, 10))
    assert test.spreads == pytest.approx(tuple(group.std(ddof=1) for group in groups))
    assert tests["rank 1: olora-tail and standard"].p == pytest.approx(1.0)


def test_collapse_has_an_exact_interval_and_a_model_only_where_there_is_enough(tmp_path):
    assert share_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    few = results_of(tmp_path / "few", lambda init, rank, seed: (0.5, init == "olora-tail" and seed < 2))
    assert collapse_odds(few.adapters) is None
    many = results_of(
        tmp_path / "many", lambda init, rank, seed: (0.5, (seed < 10) if init == "olora-tail" else seed < 2), seeds=12
    )
    odds = collapse_odds(many.adapters)
    (tail,) = [value for name, value in odds.items() if "olora-tail" in name]
    assert tail[0] > 3 and tail[1] > 1
    assert odds["log_rank"][1] < 1 < odds["log_rank"][2]


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.2, CAME_OUT), (-0.2, CONTRARY), (0.0, OPEN)]
)  # fmt: skip
def test_the_claim_about_the_tail_follows_the_sign_of_what_came_out(tmp_path, shift, verdict):
    results = results_of(
        tmp_path,
        lambda init, rank, seed: (0.5 + noise((seed, init == "standard")) + shift * (init != "standard"), False),
        parts=2,
    )
    assert claims_of(results)[0].verdict == verdict


def test_claims_about_collapse_need_an_interval_on_one_side_of_a_half(tmp_path):
    for share, verdict in ((1.0, CAME_OUT), (0.0, CONTRARY), (0.5, OPEN)):
        directory = tmp_path / str(share)
        results = results_of(directory, lambda init, rank, seed, share=share: (0.5, seed < share * 6), parts=2)
        assert claims_of(results)[1].verdict == verdict
        assert claims_of(results)[2].verdict == "not run"
    untold = results_of(tmp_path / "untold", lambda init, rank, seed: (0.5, None))
    assert claims_of(untold)[1].verdict.startswith("cannot be told")


def test_a_report_names_what_has_not_run_and_shows_every_cell(tmp_path):
    results_of(tmp_path, lambda init, rank, seed: (0.5 + noise(seed), False))
    text = write_report(tmp_path).read_text()
    lines = text.splitlines()

    assert "Not run yet, and in no figure: sums with 4 items an update." in text
    assert lines[0].startswith("# ") and lines[2].startswith("24 adapters at the rates that they chose: 0 collapsed")
    assert sum(line.startswith("| products") for line in lines) >= 8
    assert all(math.isfinite(cell.last.value) for cell in cells_of(read_sweep(tmp_path).best))


@pytest.mark.parametrize(
    ("name", "page"),
    [
        (pages.SWEEP, pages.sweep_page),
        pytest.param(pages.VOTE, pages.vote_page, marks=pytest.mark.slow),  # its intervals take a minute
    ],
)
def test_the_committed_pages_are_those_of_the_committed_results(name, page):
    """Nobody writes a figure of these pages by hand."""
    if not pages.is_there(name):
        pytest.skip(f"nothing of {name} is committed")
    assert (pages.DOCS / f"{name}.md").read_text() == page()


def test_results_are_taken_over_without_curves(tmp_path):
    results_of(tmp_path / "run", lambda *_: (0.5, False))
    content = json.loads((tmp_path / "run" / "products-4-final.json").read_text())
    for adapter in content["adapters"].values():
        adapter["curve"] = {"updates": [1] * 50}
    (tmp_path / "run" / "products-4-final.json").write_text(json.dumps(content))
    pages.take_sweep(tmp_path / "run", tmp_path / "taken")

    assert "curve" not in (tmp_path / "taken" / "products-4-final.json").read_text()
    assert read_sweep(tmp_path / "taken").adapters.equals(read_sweep(tmp_path / "run").adapters)
