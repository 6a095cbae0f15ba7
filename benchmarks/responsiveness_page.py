"""docs/responsiveness.md, from committed studies: ``python -m benchmarks.responsiveness_page``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyphony.metrics.studies.comparison_table import rendered

ROOT = Path(__file__).resolve().parent.parent
STUDIES, PAGE = ROOT / "data" / "studies" / "responsiveness", ROOT / "docs" / "responsiveness.md"
NAMES = {"town-2": "the built-in generator's second town", "real": "real authors (2002 mailing lists)"}
CONTROLS = ("pooled", "prior", "base")
Row = Mapping[str, Any]
Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Goal:
    """A figure, what was asked of it, and whether it was reached.

    Attributes:
        title: What is measured.
        asked: The goal in words.
        value: The figure with its interval.
        beside: The same of controls, or of rankings that need no model.
        reached: Whether the value reaches the goal, its interval apart.
    """

    title: str
    asked: str
    value: str
    beside: str
    reached: bool


def main() -> None:
    """Write the page of what is committed."""
    PAGE.write_text(page(read(STUDIES)))


def read(studies: Path) -> Figures:
    """The studies that are there, by name."""
    return {name: json.loads(path.read_text()) for name in NAMES if (path := studies / f"{name}.json").exists()}


def page(studies: Figures) -> str:
    """The whole text."""
    parts = [_HEAD, *(_answer(name, study) for name, study in studies.items()), _MEANING]
    for name, study in studies.items():
        row = study["cells"][0]
        parts.append(f"## {NAMES[name].capitalize()}, {row['users']} people\n\n" + _goal_table(goals(name, row)) + "\n")
        parts.append(f"### More of these people\n\n{_more(row)}\n")
    parts.append("## Made with\n\n" + "".join(_made_with(name, study) for name, study in studies.items()))
    return "\n".join(parts)


_HEAD = """# What do agents react to?

Written by `python -m benchmarks.responsiveness_page` from `data/studies/responsiveness/`.
"""

_MEANING = """Brackets hold 95% percentile bootstrap intervals over people. A goal is reached where the value
reaches it; an interval may still hold the goal. Every act after one date is held out, the same date for everybody.
**own** is the prior with the person's adapter, **pooled** one adapter of the same rank over the same prior that
learned from all these people's acts, **prior** what all share, **base** the bare model, **other** the mean over two
other people's adapters. What the figures measure stands in
[method.md](method.md#how-it-is-measured-what-agents-react-to); what was tried where a goal is missed, under [how
targets are learned](method.md#how-targets-are-learned).
"""


def goals(name: str, row: Row) -> list[Goal]:
    """What was asked of a population, and what came out."""
    nll, real = row["nll"], name == "real"
    share, gain = (0.78, 0.05) if real else (0.90, 0.15)
    within, top1, f1 = row["act_variance_within_agents"], row["target_top1"], row["next_act_f1"]
    needed = max(2 * top1["chance"], top1["popularity"], top1["similarity"], top1["similarity_own_words"])
    listed = [
        Goal("text NLL of held-out posts, nats a token", "own < pooled < base", _shown(row, "nll", "own"),
             _beside(row, "nll", ("pooled", "base", "prior", "other")), nll["own"] < nll["pooled"] < nll["base"]),
        Goal("own adapter better than another's, share of posts", f"≥ {share}", _shown(row, "own_beats_other"), "",
             row["own_beats_other"] >= share),
        Goal("target of an act, top-1", "≥ 2 × chance, above popularity and TF-IDF", _shown(row, "target_top1", "own"),
             _beside(row, "target_top1", ("chance", "popularity", "similarity", "similarity_own_words", "pooled")),
             top1["own"] >= needed),
        Goal("gain from a reply's true parent, nats a token", f"≥ {gain}", _shown(row, "reply_parent_gain", "own"),
             _beside(row, "reply_parent_gain", CONTROLS), row["reply_parent_gain"]["own"] >= gain),
        Goal("next act, macro-F1", "above boosted trees", _shown(row, "next_act_f1", "own"),
             _beside(row, "next_act_f1", ("trees", "frequency", "markov", "pooled")), f1["own"] > f1["trees"]),
    ]  # fmt: skip
    if "truth" in within:
        listed.insert(3, Goal(
            "share of the variance of P(act) within agents", f"≥ {within['truth'] / 2:.3f}, half of the truth",
            _shown(row, "act_variance_within_agents", "own"),
            _beside(row, "act_variance_within_agents", ("truth", *CONTROLS)), within["own"] >= within["truth"] / 2,
        ))  # fmt: skip
    for feature, value in row.get("elasticity_recovery", {}).items():
        asked = 0.5 if feature == "interest" else 0.3
        listed.append(Goal(
            f"recovery of the elasticity of {feature}, rank correlation", f"≥ {asked}",
            _shown(row, "elasticity_recovery", feature),
            f"pooled {_shown(row, 'elasticity_recovery_pooled', feature)}", value is not None and value >= asked,
        ))  # fmt: skip
    return listed


def _answer(name: str, study: Mapping[str, Any]) -> str:
    row = study["cells"][0]
    listed = goals(name, row)
    missed = [goal.title for goal in listed if not goal.reached]
    top1, gain = _shown(row, "target_top1", "own"), _shown(row, "reply_parent_gain", "own")
    text = (
        f"**{NAMES[name].capitalize()}, {row['users']} people:** own adapters put the item that an act was about first "
        f"in {top1} of the cases (chance {row['target_top1']['chance']:.2f}, TF-IDF with the history "
        f"{row['target_top1']['similarity']:.2f}), and a reply's words gain {gain} nats a token from what it answers. "
        f"{len(listed) - len(missed)} of {len(listed)} goals are reached"
    )
    return text + (f"; missed: {'; '.join(missed)}.\n" if missed else ".\n")


def _goal_table(listed: Sequence[Goal]) -> str:
    header = ("figure", "goal", "own adapters", "beside them", "")
    body = [
        (goal.title, goal.asked, goal.value, goal.beside, "reached" if goal.reached else "**missed**")
        for goal in listed
    ]
    return rendered(header, body, "markdown")


def _more(row: Row) -> str:
    body = [
        ("people with held-out texts; texts", f"{row['people']}; {row['held_out_posts']:,}"),
        ("a stranger's NLL less the own one", _shown(row, "own_advantage")),
        ("act distance: own", f"{_shown(row, 'act_distance', 'own')}; "
         + _beside(row, "act_distance", (*CONTROLS, "history"))),
        ("next act, log loss in nats: own", f"{_shown(row, 'next_act_log_loss', 'own')}; "
         + _beside(row, "next_act_log_loss", ("frequency", "trees", "markov", "pooled"))),
        ("change of verb probabilities before another community's feed: own",
         f"{_shown(row, 'feed_swap_distance', 'own')}; before another feed of the own community "
         + _shown(row, "feed_swap_distance", "own_near")),
        ("mean reciprocal rank of the target: own", f"{_shown(row, 'target_mrr', 'own')}; "
         + _beside(row, "target_mrr", ("chance", "popularity", "similarity"))),
        ("validation loss of own adapters (text plus 0.2 times act)", f"{row['validation_loss']:.3f}"),
    ]  # fmt: skip
    return rendered(["figure", "value"], body, "markdown")


def _made_with(name: str, study: Mapping[str, Any]) -> str:
    machine = study["machine"]
    versions = ", ".join(f"{key} {value}" for key, value in study["versions"].items())
    population, users = ("POSTS" if name == "real" else name.replace("-", ":")), study["cells"][0]["users"]
    identified = study["cells"][0]["identified"]
    command = (
        f"python -m benchmarks.evidence --population {population} --users {users} --only-defaults "
        f"--identified {identified}"
    )
    return (
        f"- {NAMES[name].capitalize()}: `{command}`; {machine['processor']}, {', '.join(machine['flags'])}, "
        f"{study['cells'][0]['dtype']}; {versions}.\n"
    )


def _shown(row: Row, name: str, part: str | None = None) -> str:
    value, interval = row[name], row["intervals"][name]
    if part is not None:
        value, interval = value.get(part), interval.get(part)
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _beside(row: Row, name: str, parts: Sequence[str]) -> str:
    titles = {"similarity": "TF-IDF with the history", "similarity_own_words": "TF-IDF with own words"}
    return "; ".join(f"{titles.get(part, part)} {_shown(row, name, part)}" for part in parts if part in row[name])


if __name__ == "__main__":
    main()
