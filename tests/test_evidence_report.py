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


def test_what_was_measured_over_an_earlier_prior_says_so() -> None:
    head = {"machine": {"processor": "P", "flags": []}, "versions": {}}
    study = {**head, "prior": {"batch_size": 16}, "history": {}, "cells": [cell(64, "standard", 3.0)]}
    assert "earlier default of the prior: batch_size 16" in report({"town": study}, swept())
    assert "earlier default" not in report({"town": {**study, "prior": {}}}, swept())
    assert "earlier version" not in report({"town": study}, swept())
    del study["history"]
    assert "earlier version: feeds in training were random" in report({"town": study}, swept())


def test_the_acts_weight_is_compared_over_the_same_people() -> None:
    head = {"machine": {"processor": "P", "flags": []}, "versions": {}, "prior": {}}
    ours = {"act_weight": 0.2, "text": [3.0, 4.0], "act": [1.0, 1.5], "whole": [30.0, 41.5]}
    other = {"act_weight": 1.0, "text": [3.5, 4.5], "act": [0.5, 1.0], "whole": [29.0, 39.5]}
    study = {**head, "cells": [cell(64, "standard", 3.0)]}
    text = report({"town": study}, swept(), {"weights": [other, ours]})
    rows = [line.split("|")[1:-1] for line in text.split("### The act's weight")[1].splitlines() if "| 0.2 |" in line
            or "| 1 |" in line]  # fmt: skip
    assert [part.strip() for part in rows[0]] == ["0.2", "3.500", "1.250", "35.750", "–", "–", "–"]
    assert [part.strip() for part in rows[1]][3:] == [
        "34.250", "+0.500 [+0.500, +0.500]", "-0.500 [-0.500, -0.500]", "-1.500 [-2.000, -1.000]"
    ]  # fmt: skip
    assert "greatest with weight 1; the default is 0.2" in text
    assert "The act's weight" in text and "The act's weight" not in report({"town": study}, swept())


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


def test_the_report_opens_with_its_answer() -> None:
    head = {"machine": {"processor": "P", "flags": []}, "versions": {}, "prior": {}, "history": {}}
    known = cell(64, "standard", 3.0)
    known["intervals"] = {**known["intervals"], "own_beats_other": [0.85, 0.95]}  # type: ignore[dict-item]
    known |= {"own_beats_other": 0.9}
    text = report({"town": {**head, "cells": [known]}}, swept()).split("## Appendix")[0]
    assert "**Answer.** Yes, in what people write." in text and "90.0% [85.0, 95.0] with the built-in town" in text
    assert "2 of 3 goals are missed." in text and "earlier version" not in text
    text = report({"town": {**head, "cells": [known]}, "real": {**head, "cells": [cell(48, "standard", 3.0)]}}, swept())
    assert "**Answer.** Not shown in every population." in text


def test_a_rank_is_chosen_by_what_it_loses_on_every_population() -> None:
    head = {"machine": {"processor": "P", "flags": []}, "versions": {}, "prior": {}}
    town = [cell(64, "standard", 3.0), {**cell(64, "standard", 3.25), "rank": 1}, {**cell(64, "mica", 2.0), "rank": 8}]
    real = [cell(48, "standard", 4.5), {**cell(48, "standard", 4.0), "rank": 1}]
    text = report({"town": {**head, "cells": town}, "real": {**head, "cells": real}}, swept())
    assert "- rank: 1 0.250, 4 0.500." in text and "- posts: 24 0.000." in text
    assert "lowest validation loss 2.000 at rank 8 from `mica` with 24 posts" in text
