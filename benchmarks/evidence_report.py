"""docs/adapters.md from the cells of the evidence study; every number in it is generated."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from polyphony.adapters.evaluation.bootstrap import estimate_over_people
from polyphony.adapters.training.config import TrainingConfig

PLAIN = TrainingConfig()
NAMES = {"town": "the built-in town", "real": "real authors (2002 mailing lists)"}
GOALS = {"town": 0.9, "real": 0.8}
# What a cell says of its factors where it has the defaults; posts is the most of a person.
DEFAULTS = {"rank": PLAIN.shape.rank, "init": PLAIN.init, "posts": PLAIN.max_examples}
Row = Mapping[str, Any]
_BY_GUESSING = 0.5  # an adapter that knows nothing of the person finds half of the posts likelier


def write_report(studies: Path, target: Path, swept: Sequence[Mapping[str, Any]]) -> None:
    """Write the report and its figure beside it from ``town.json`` and, if it is there, ``real.json`` in `studies`.

    Args:
        studies: Where they are.
        target: The report.
        swept: Rank, init and posts of every cell that a sweep should have; what lacks is named.
    """
    found = {name: json.loads(path.read_text()) for name in NAMES if (path := studies / f"{name}.json").exists()}
    weights = studies / "act_weight.json"
    act_weight = json.loads(weights.read_text()) if weights.exists() else None
    target.write_text(report(found, swept, act_weight))
    matrices = {name: _defaults(study["cells"])["matrix"] for name, study in found.items()}
    _draw(matrices, target.with_name("adapters.svg"))


def report(
    found: Mapping[str, Mapping[str, Any]],
    swept: Sequence[Mapping[str, Any]],
    act_weight: Mapping[str, Any] | None = None,
) -> str:
    """The whole text."""
    parts = [answer(found), _HEAD]
    for name, study in found.items():
        best = _defaults(study["cells"])
        title = f"### {NAMES[name].capitalize()}: the defaults on {best['users']} people\n\n"
        parts.append(title + _outdated(study) + _headline(best))
    parts.append(_goals(found))
    parts.append(_MATRIX)
    for name, study in found.items():
        parts.append(f"### Sweep on {NAMES[name]}\n\n" + _outdated(study) + _sweep(study["cells"]))
    parts.append(_choice(found))
    parts.append(_act_weight(act_weight))
    parts.append(_lacking(found, swept))
    machines = {name: f"{s['machine']['processor']}, {', '.join(s['machine']['flags'])}" for name, s in found.items()}
    versions = next(iter(found.values()))["versions"]
    parts.append(
        "### Made with\n\n"
        + "".join(f"- {NAMES[name]}: {machine}\n" for name, machine in machines.items())
        + "- " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "\n"
    )  # fmt: skip
    return "\n".join(part for part in parts if part)


_HEAD = """## Appendix

`make evidence` writes this page; every number comes from `data/studies/adapters/`. Brackets hold 95% percentile
bootstrap intervals over people. A person's held-out acts are later than all training and validation acts of that
person, and no adapter was trained to produce them. But each person has a split date of their own, so a held-out post
may appear in the feed of another person's training prompt. NLL is in nats per token of held-out texts, posts weighted
equally.

- **base** is the bare model, **prior** the population prior alone, **own** the prior with the person's adapter,
  **other** the mean over two other people's. The arm `pooled`, one adapter for all over the prior, is not on this page.
- **own beats other**: share of (post, other person) pairs in which the person's own adapter finds the post likelier.
- **top-1 of 32**: share of people whose own adapter, among 32 people's, finds their first five held-out posts
  likeliest; guessing reaches 3.1%. With more than 128 people, only the first 128 are identified.
- **act distance**: total variation between a person's held-out verbs and the mean distribution predicted before them;
  **history** is the person's own training frequencies, the classical baseline. Lower is better.
- **attribution**: the model writes a post after the prompt of each held-out act. A ridge classifier of character 2- to
  4-grams, trained on real training posts, assigns these posts to one of 32 people; the figure is the share assigned to
  the right person. **real** is the same on the people's own held-out posts, the ceiling.
"""

_MATRIX = """### Person × adapter

![NLL of each person's held-out posts under each of 32 adapters, less the row's mean](adapters.svg)

Rows are people, columns the adapters of the same 32 people; a darker cell means a likelier post. If adapters carry
their people, the diagonal is dark.
"""


def answer(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The title, a paragraph that answers it with main figures and caveats, and an item for each population."""
    rows = {NAMES[name]: _defaults(study["cells"]) for name, study in found.items()}
    bounds = [row["intervals"]["own_beats_other"] for row in rows.values()]
    carried = all(bound is not None and bound[0] > _BY_GUESSING for bound in bounds)
    beaten = ", ".join(f"{_percent(row, 'own_beats_other')} with {title}" for title, row in rows.items())
    sentences = [
        "Yes, in what people write." if carried else "Not shown in every population.",
        *_of_acts(found),
        f"A person's own adapter finds that person's later posts likelier than another person's adapter does, in this "
        f"share of the cases: {beaten} (guessing: {_BY_GUESSING:.0%}; in brackets the 95% interval).",
    ]
    if any("history" not in study for study in found.values()):
        sentences.append("The figures are of an earlier version of training and have not been measured again.")
    goals = [reached for *_, reached in _goal_rows(found)]
    sentences.append(f"{goals.count(False)} of {len(goals)} goals are missed.")
    items = "".join(f"- **{title[0].upper()}{title[1:]}**: {_item(row)}\n" for title, row in rows.items())
    return f"# Do the adapters carry their people?\n\n**Answer.** {' '.join(sentences)}\n\n{items}"


def _of_acts(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Where own adapters are not shown to predict the mix of acts better than the prior: the intervals overlap."""
    rows = {NAMES[name]: _defaults(study["cells"]) for name, study in found.items()}
    bounds = {
        title: [_figure(row, "act_distance", part)[1] for part in ("own", "pooled")] for title, row in rows.items()
    }
    open_in = [title for title, (own, prior) in bounds.items() if own and prior and own[1] >= prior[0]]
    if open_in:
        yield (
            "Own adapters are not shown to predict people's mix of acts better than the prior alone with "
            f"{' and '.join(open_in)}."
        )


def _item(row: Row) -> str:
    own, prior, real = (_share(_figure(row, "attribution", part)[0], None) for part in ("own", "pooled", "real"))
    acts = [_figure(row, "act_distance", part)[0] for part in ("own", "pooled", "history")]
    with_own, with_prior, by_past = ("–" if value is None else f"{value:.3f}" for value in acts)
    return (
        f"{row['people']} people. The own adapter singles out {_percent(row, 'identification_top1')} of people among "
        f"32 (guessing: 3.1%). A classifier traces {own} of the texts written with own adapters to the right person, "
        f"{prior} of those written with the shared prior alone, and {real} of people's real posts. The distance of the "
        f"predicted mix of acts from a person's real one is {with_own} with own adapters, {with_prior} with the prior "
        f"alone and {by_past} by the person's past (0: equal, 1: wholly different)."
    )


def prior_schedule() -> dict[str, Any]:
    """How the prior is trained, beneath all cells of a study alike."""
    return {**asdict(PLAIN.prior_schedule), "examples": PLAIN.prior_examples}


def _outdated(study: Mapping[str, Any]) -> str:
    """Says so where a study is of an earlier training, or of a prior that is no longer the default."""
    if "history" not in study:
        return (
            "**Measured with an earlier version: feeds in training were random recent posts, agents did not react to "
            "what they saw; a built-in town was of version 1. To be measured again.**\n\n"
        )
    then, now = study.get("prior", {"batch_size": 16}), prior_schedule()
    differs = {name: value for name, value in then.items() if now.get(name) != value}
    if not differs:
        return ""
    told = ", ".join(f"{name} {value} (now {now.get(name)})" for name, value in differs.items())
    return f"**Measured with an earlier default of the prior: {told}; to be measured again.**\n\n"


def _headline(row: Row) -> str:
    lines = [
        ("held-out posts", f"{row['held_out_posts']:,} of {row['people']} people"),
        ("NLL base / prior / own / other",
         " / ".join(_shown(row, "nll", n) for n in ("base", "pooled", "own", "other"))),
        ("own advantage over another's, nats", _shown(row, "own_advantage")),
        ("own beats other", _percent(row, "own_beats_other")),
        ("top-1 of 32", _percent(row, "identification_top1")),
        ("act distance base / prior / own / history",
         " / ".join(_shown(row, "act_distance", n) for n in ("base", "pooled", "own", "history"))),
        ("attribution base / prior / own / real",
         " / ".join(_percent(row, "attribution", n) for n in ("base", "pooled", "own", "real"))),
        ("compute type", row["dtype"]),
    ]  # fmt: skip
    return _table(("figure", "value"), lines)


def _goals(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What the defaults were to reach, and by how much they miss it."""
    body = [(*row, "reached" if reached else "**missed**") for *row, reached in _goal_rows(found)]
    return "### Goals\n\n" + _table(("figure of the defaults", "goal", "value", ""), body)


def _goal_rows(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, bool]]:
    """Name of each goal, what was asked, the value, and whether it is reached."""
    rows = []
    for name, study in found.items():
        best = _defaults(study["cells"])
        own, pooled, base = (best["nll"][arm] for arm in ("own", "pooled", "base"))
        order = "own < prior < base"
        rows.append((f"{NAMES[name]}: NLL {order}", order, f"{own:.3f}, {pooled:.3f}, {base:.3f}", own < pooled < base))
        for figure, title, goal in (
            ("own_beats_other", "own beats other", GOALS[name]), ("identification_top1", "top-1 of 32", 0.6)
        ):  # fmt: skip
            asked, reached = f"≥ {100 * goal:.0f}%", best[figure] >= goal
            rows.append((f"{NAMES[name]}: {title}", asked, f"{100 * best[figure]:.1f}%", reached))
    return rows


def _swept(rows: Sequence[Row]) -> list[Row]:
    """The cells on the fewest people."""
    users = min(row["users"] for row in rows)
    return [row for row in rows if row["users"] == users]


def _sweep(rows: Sequence[Row]) -> str:
    swept = _swept(rows)
    users = swept[0]["users"]
    header = (
        "rank", "start", "posts", "validation loss", "NLL own", "NLL other", "own beats other",
        "top-1 of 32", "act distance own", "attribution own", "compute type",
    )  # fmt: skip
    body = [
        (
            str(row["rank"]), row["init"], str(row["posts"]), f"{row['validation_loss']:.3f}",
            _shown(row, "nll", "own"), _shown(row, "nll", "other"),
            _percent(row, "own_beats_other"), _share(*_first_identified(row)),
            _shown(row, "act_distance", "own"), _percent(row, "attribution", "own"), row["dtype"],
        )
        for row in sorted(swept, key=lambda row: (row["init"] != PLAIN.init, row["init"], -row["posts"], row["rank"]))
    ]  # fmt: skip
    told = (
        f"{users} people. *Posts* is the largest number of training acts of a person; alpha is twice the rank. Here "
        "top-1 is over the same 32 people in every row.\n\n"
    )
    return told + _table(header, body)


def _first_identified(row: Row) -> tuple[float | None, Sequence[float] | None]:
    """Share of the first candidates whose own adapter finds their posts likeliest, and its interval over people."""
    found = estimate_over_people([float(np.argmin(nll) == person) for person, nll in enumerate(row["matrix"])])
    return found.value, found.interval


def _lacking(found: Mapping[str, Mapping[str, Any]], swept: Sequence[Mapping[str, Any]]) -> str:
    """What `make evidence` has still to measure; empty where nothing lacks."""
    lines = []
    for name, title in NAMES.items():
        rows = found[name]["cells"] if name in found else []
        there = [{key: row[key] for key in ("rank", "init", "posts")} for row in (_swept(rows) if rows else ())]
        missing = [cell for cell in swept if cell not in there]
        if missing:
            cells = "; ".join(f"rank {c['rank']} {c['init']} {c['posts']} posts" for c in missing)
            lines.append(f"- {title}: {cells if rows else 'everything'}\n")
    return "### Not measured yet\n\n" + "".join(lines) if lines else ""


def _choice(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Why the defaults are what they are, from the validation part of the training side alone."""
    lines = []
    for name, study in found.items():
        swept = _swept(study["cells"])
        best = min(swept, key=lambda row: row["validation_loss"])
        ours = next(row for row in swept if not _differs_in(row))
        lines.append(
            f"- {NAMES[name]}: lowest validation loss {best['validation_loss']:.3f} at rank {best['rank']} from "
            f"`{best['init']}` with {best['posts']} posts; the defaults (rank {PLAIN.shape.rank}, `{PLAIN.init}`, "
            f"{PLAIN.max_examples}) reach {ours['validation_loss']:.3f}."
        )
    factors = "\n".join(_for_all(found, factor) for factor in DEFAULTS)
    return (
        "### Why these defaults\n\nRank, start and posts are chosen by the loss on the validation part of the training "
        "side (text plus 0.2 times act), not by the held-out columns:\n\n"
        + "\n".join(lines) + "\n\nThe excess loss of each value over the best of each population, with the other "
        "factors at their defaults, summed over the populations (compute types differ between cells, see the "
        "tables):\n\n"
        f"{factors}\n"
    )  # fmt: skip


def _act_weight(study: Mapping[str, Any] | None) -> str:
    """How the act's weight does beside others on the validation part."""
    if study is None:
        return ""
    weighed = {row["act_weight"]: row for row in study["weights"]}
    ours = weighed[PLAIN.schedule.act_weight]
    rows = [
        (
            f"{weight:g}", *(f"{np.mean(row[part]):.3f}" for part in ("text", "act", "whole")),
            *("–" if row is ours else _less(row[part], ours[part]) for part in ("text", "act", "whole")),
        )
        for weight, row in sorted(weighed.items())
    ]  # fmt: skip
    header = ("weight", "text", "act", "all", "text, less ours", "act, less ours", "all, less ours")
    best = min(weighed, key=lambda weight: float(np.mean(weighed[weight]["whole"])))
    return (
        "#### The act's weight\n\nThe validation loss cannot choose this weight, because the loss contains it. The "
        f"table shows the validation acts of {len(ours['text'])} people of the town under their own adapters, trained "
        "with each weight: nats per text token, nats of verb and target per act, and nats of the whole act (verb, "
        "target and every token), with differences over the same people. The likelihood of whole acts is the "
        f"greatest with weight {best:g}; the default is {PLAIN.schedule.act_weight:g}. It was chosen earlier by "
        "held-out figures of people who are among those evaluated here.\n\n" + _table(header, rows)
    )


def _less(values: Sequence[float], others: Sequence[float]) -> str:
    found = estimate_over_people(np.subtract(values, others))
    assert found.value is not None and found.interval is not None
    return f"{found.value:+.3f} [{found.interval[0]:+.3f}, {found.interval[1]:+.3f}]"


def _for_all(found: Mapping[str, Mapping[str, Any]], factor: str) -> str:
    """Which value of one factor, the others being the defaults, loses least over all populations that have it."""
    plain = {
        name: {row[factor]: row["validation_loss"] for row in _swept(study["cells"]) if _differs_in(row) <= {factor}}
        for name, study in found.items()
    }
    shared = sorted(set.intersection(*(set(losses) for losses in plain.values())))
    excess = {value: sum(losses[value] - min(losses.values()) for losses in plain.values()) for value in shared}
    return f"- {factor}: " + ", ".join(f"{value} {lost:.3f}" for value, lost in excess.items()) + "."


def _differs_in(row: Row) -> set[str]:
    """The factors in which a cell is not the default."""
    return {factor for factor, value in DEFAULTS.items() if row[factor] != value}


def _defaults(rows: Sequence[Row]) -> Row:
    """The default setting on the most people."""
    return max((row for row in rows if not _differs_in(row)), key=lambda row: row["users"])


def _shown(row: Row, name: str, part: str | None = None) -> str:
    value, interval = _figure(row, name, part)
    return "–" if value is None else f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _percent(row: Row, name: str, part: str | None = None) -> str:
    return _share(*_figure(row, name, part))


def _share(value: float | None, interval: Sequence[float] | None) -> str:
    bounds = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return "–" if value is None else f"{100 * value:.1f}%{bounds}"


def _figure(row: Row, name: str, part: str | None) -> tuple[float | None, Sequence[float] | None]:
    value, interval = row[name], row["intervals"][name]
    return (value, interval) if part is None else (value.get(part), interval.get(part))


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return "".join(_lines(header, body))


def _lines(header: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    for line in (header, ["---"] * len(header), *body):
        yield f"| {' | '.join(line)} |\n"


def _draw(matrices: Mapping[str, list[list[float]]], target: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "polyphony"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(matrices), figsize=(5 * len(matrices), 4.6), constrained_layout=True, squeeze=False
    )
    for axis, (name, rows) in zip(axes[0], matrices.items(), strict=True):
        matrix = np.array(rows)
        centred = matrix - matrix.mean(axis=1, keepdims=True)
        bound = float(np.quantile(np.abs(centred), 0.98))
        image = axis.imshow(centred, cmap="PuOr", vmin=-bound, vmax=bound, interpolation="nearest")
        axis.set(title=NAMES[name], xlabel="adapter of", ylabel="posts of")
        figure.colorbar(image, ax=axis, shrink=0.8, label="nats per token, less the row's mean")
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)
