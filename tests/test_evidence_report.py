"""docs/adapters.md: what is committed is what the committed cells give."""

from pathlib import Path

from benchmarks.evidence import INITS, ROOT, single_factors
from benchmarks.evidence_report import report, write_report


def swept() -> list[dict[str, object]]:
    cells = dict.fromkeys(single_factors(0, INITS))
    return [{"rank": cell.rank, "init": cell.init, "posts": cell.posts} for cell in cells]


def test_the_committed_report_is_what_the_committed_cells_give(tmp_path: Path) -> None:
    write_report(ROOT / "data" / "studies" / "adapters", tmp_path / "adapters.md", swept())
    assert (tmp_path / "adapters.md").read_text() == (ROOT / "docs" / "adapters.md").read_text()
    assert (tmp_path / "adapters.svg").stat().st_size > 10_000


def cell(users: int, init: str, loss: float) -> dict[str, object]:
    figures = ("nll", "act_distance", "attribution")
    plain = ("own_advantage", "own_beats_other", "identification_top1")
    return {
        "rank": 4, "init": init, "posts": 24, "users": users, "dtype": "bf16", "validation_loss": loss,
        "held_out_posts": 1, "people": users, "matrix": [[0.0]],
        **{name: dict.fromkeys(("base", "pooled", "own", "other", "history", "real"), 0.5) for name in figures},
        **dict.fromkeys(plain, 0.5),
        "intervals": {**{name: {} for name in figures}, **dict.fromkeys(plain)},
    }  # fmt: skip


def test_an_earlier_sweep_stands_in_until_there_is_a_later_one_and_says_so() -> None:
    head = {"machine": {"processor": "P", "flags": []}, "versions": {}}
    later = {**head, "prior": {}, "cells": [cell(512, "standard", 3.0)]}
    earlier = {**head, "prior": {"batch_size": 16}, "cells": [cell(64, "standard", 3.5), cell(64, "mica", 3.6)]}
    headline, sweep = report({"town": later}, swept(), {"town": earlier}).split("## Sweep")
    assert "earlier default" in sweep and "earlier default" not in headline and "64 people" in sweep
    later["cells"] = [*later["cells"], cell(64, "standard", 3.1), cell(64, "mica", 3.2)]
    assert "earlier default" not in report({"town": later}, swept(), {"town": earlier})


def test_goals_that_are_missed_are_said_to_be() -> None:
    head = {"machine": {"processor": "P", "flags": []}, "versions": {}, "prior": {}}
    good, bad = cell(64, "standard", 3.0), cell(64, "standard", 3.0)
    good |= {"nll": {"own": 1.0, "pooled": 2.0, "base": 3.0, "other": 2.0}, "own_beats_other": 0.9}
    good |= {"identification_top1": 0.6}
    text = report({"town": {**head, "cells": [good]}, "real": {**head, "cells": [bad]}}, swept())
    goals = text.split("## Goals")[1].split("##")[0].splitlines()
    assert [line.split("|")[-2].strip() for line in goals if line.startswith("| ")][2:] == ["reached"] * 3 + [
        "**missed**"
    ] * 3


def test_a_rank_is_chosen_by_what_it_loses_on_every_population() -> None:
    head = {"machine": {"processor": "P", "flags": []}, "versions": {}, "prior": {}}
    town = [cell(64, "standard", 3.0), {**cell(64, "standard", 3.25), "rank": 1}, {**cell(64, "mica", 2.0), "rank": 8}]
    real = [cell(48, "standard", 4.5), {**cell(48, "standard", 4.0), "rank": 1}]
    text = report({"town": {**head, "cells": town}, "real": {**head, "cells": real}}, swept())
    assert "summed over them: rank 1 0.250, rank 4 0.500." in text
