"""The report of a calibration, as Markdown for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from polyphony.durable import write_durably
from polyphony.metrics.core.labels import number, signed
from polyphony.simulation.calibration.calibration import Calibration, Calibrator
from polyphony.simulation.calibration.distances import FIGURES
from polyphony.simulation.calibration.scoring import FITTED, HISTORY, NULL, REFERENCES, Estimate, Score

REPORT, FACTS = "report.md", "report.json"


def verdicts(scores: Mapping[str, Score]) -> list[str]:
    """The verdict in sentences: in how many figures the fitted settings beat both references, and in which not."""
    better = [FIGURES[name].title for name, score in scores.items() if score.beats_both]
    worse = [
        f"{FIGURES[name].title} (than the {reference})"
        for name, score in scores.items() for reference in REFERENCES if score.gains[reference].high < 0
    ]  # fmt: skip
    count, listed = f"{len(better)} of {len(scores)}", f": {', '.join(better)}" if better else ""
    lines = [f"On the held-out period the fitted settings beat both references in {count} figures{listed}."]
    if worse:
        lines.append(f"They are farther from the corpus in {', '.join(worse)}.")
    return lines


def table(scores: Mapping[str, Score]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: a figure's distances, and whether each reference is beaten."""
    headers = ["figure", *(f"distance, {who}" for who in (FITTED, *REFERENCES)),
               *(f"beats the {who}?" for who in REFERENCES)]  # fmt: skip
    rows = [
        [
            FIGURES[name].title,
            *(_estimate(score.distances[who]) for who in (FITTED, *REFERENCES)),
            *(f"{'yes' if score.beats(who) else 'no'}: {_gain(score.gains[who])}" for who in REFERENCES),
        ]
        for name, score in scores.items()
    ]  # fmt: skip
    return headers, rows


def write_report(calibrator: Calibrator, result: Calibration, command: str) -> Path:
    """Write both files into the directory of the calibration; returns the Markdown one.

    Args:
        calibrator: What was asked for.
        result: What came of it.
        command: The command that runs the fitted settings.
    """
    write_durably(
        calibrator.directory / FACTS,
        (json.dumps(_facts(calibrator, result, command), indent=1) + "\n").encode(),
    )  # fmt: skip
    path = calibrator.directory / REPORT
    write_durably(path, _markdown(calibrator, result, command).encode())
    return path


def _facts(calibrator: Calibrator, result: Calibration, command: str) -> dict[str, Any]:
    return {
        "fitted": dict(result.fitted), "command": command, "counted activation": result.counted,
        "space": [asdict(parameter) for parameter in result.space],
        "objective": {FITTED: result.objective, NULL: result.before},
        "plan": calibrator.plan(), "budget": asdict(calibrator.budget),
        "scores": {
            name: {
                "distances": {who: asdict(one) for who, one in score.distances.items()},
                "gains": {who: asdict(one) for who, one in score.gains.items()},
                "beats": {who: score.beats(who) for who in score.gains}, "beats both": score.beats_both,
            }
            for name, score in result.scores.items()
        },
    }  # fmt: skip


def _markdown(calibrator: Calibrator, result: Calibration, command: str) -> str:
    headers, rows = table(result.scores)
    periods, budget = calibrator.periods, calibrator.budget
    space = ", ".join(
        f"{parameter.name} {number(parameter.low)} to {number(parameter.high)}" for parameter in result.space
    )
    parts = [
        "# Calibration", *verdicts(result.scores), f"```\n{command}\n```",
        tabulate(rows, headers, tablefmt="github", disable_numparse=True),
        "A distance of 0 is the corpus itself. Its 95% interval is over seeds and people. A reference is beaten where "
        "its distance less the fitted one is above 0 in its whole interval; these intervals hold together with 95%.",
        "## What was done",
        f"- Training period: {periods.training.description}, {len(periods.training.acts):,} acts.\n"
        f"- Held-out period: {periods.held_out.description}, {len(periods.held_out.acts):,} acts.\n"
        f"- Agents: {len(periods.training.handles):,}, the same in both. Each simulation knows what was before its "
        "period, and nothing of it.\n"
        f"- Fitted: {', '.join(f'{name} {value}' for name, value in result.fitted.items())}; tried: {space}. "
        f"{budget.evaluations} settings, {budget.fit_seeds} seeds each, by DIRECT of scipy.\n"
        f"- Objective, the mean distance over figures in the training period: {number(result.objective)}; the null "
        f"policy's: {number(result.before)}.\n"
        f"- {_temperature(calibrator)}\n"
        f"- Held-out period: {budget.seeds} seeds that the fit has not seen.",
        f"- {NULL}: `--policy null --activation {result.counted}`, the activation that the acts of the "
        "training period give; everything else as in the fitted runs.\n"
        f"- {HISTORY}: no simulation. Days of the training period (single timesteps where it has fewer than "
        "four days) are drawn again, and its cascades.",
        "## Figures",
        "\n".join(f"- {FIGURES[name].title}: {FIGURES[name].meaning}." for name in result.scores),
        "One held-out period of one corpus tells nothing of other times. Agents act at most once in a timestep. The "
        "search takes the best of the settings that it tried: nothing says that no other is better.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _temperature(calibrator: Calibrator) -> str:
    if any(parameter.name == "temperature" for parameter in calibrator.space):
        return "Temperature: fitted by the share of new words."
    reason = "no model writes" if not calibrator.settings.needs_model else "verbs are drawn from histories"
    return f"Temperature: left out, for {reason}."


def _estimate(estimate: Estimate) -> str:
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})"


def _gain(gain: Estimate) -> str:
    return f"{signed(gain.value)} ({number(gain.low)} to {number(gain.high)})"


def rows_of(result: Calibration) -> Sequence[Sequence[str]]:
    """The rows of `table`, with a plain yes or no, for a terminal."""
    return [
        [
            FIGURES[name].title, *(number(score.distances[who].value) for who in (FITTED, *REFERENCES)),
            *("yes" if score.beats(who) else "no" for who in REFERENCES),
        ]
        for name, score in result.scores.items()
    ]  # fmt: skip
