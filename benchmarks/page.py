"""docs/benchmarks.md from benchmarks/results/: ``python -m benchmarks --report``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyphony.metrics.core.labels import number
from polyphony.metrics.studies.comparison_table import rendered

TITLES = {
    "engine": "Engine: many adapters in one batch",
    "training": "Training: many people in one pass",
    "activation": "A whole population decides",
    "precision": "Half precision",
    "grammars": "What the base would do under other labels",
    "platform": "Platform and feeds",
    "readers": "Runs that are watched",
    "bank": "Bank",
    "measurements": "Measurements",
    "dashboard": "Dashboard and graph data sets",
    "reinforcement": "Reinforcement: many adapters in one pass",
    "serving": "Serving: an OpenAI-compatible server of a bank",
}
# What a reader asks first, and the figure that answers it.
FIRST = {
    "512 people and their prior at the defaults, counted by these rates": "training of 512 people, counted",
    "512 agents activated once, feed of 5": "512 agents decide once, an adapter each",
    "peak memory of a run of 512 agents, 2 timesteps": "peak memory of a run of 512 agents",
    "decode 64 rows, 64 adapters, q,k,v,o rank 4 ÷ base": "decoding under 64 adapters ÷ under the bare base",
    "64 clients, 64 adapters, 96 prompt and 32 new tokens: served": "serving 64 clients with an adapter each",
}
# Why a goal is missed where it is, by the beginning of the figure's name.
REASONS = {
    "loading 512 adapters": "most of the time goes into reading and checking each object; packed shards "
    "(`simulate bank pack`) are read faster, see docs/bank.md",
    "decode 64 rows, 64 adapters, all linears": "the bare base has become a quarter faster (ordered weights), the "
    "factors have not. 313 MB of them are read once a token, in 12 ms at 27 GB/s, which is the memory's bandwidth. "
    "Variants were no better: four ranks at a time took 20 ms, vectors of 512 bits no less than 11 ms, and the other "
    "products cost nothing. Timed alone with the base, medians of 21 in turns, the ratio was 1.21 within the hour",
    "512 adapters in": "without native bf16 the slots hold fp32. Some 800 MiB of numbers are gathered, checked and "
    "written, each a pass or two through memory, and in fp32 the same amount is read from disk and hashed before. "
    "Slots of half the size take a third of the time (docs/bank.md)",
    "512 agents activated once": "most of the time is reading prompts, and most of that is matrix products. At the "
    "peak rate the whole would take a little less than half with native bf16, and three quarters without. Shorter "
    "prompts would reach the goal: fewer feed items, or cached prefixes, which a run has from an agent's second "
    "activation on. Without bf16, frozen weights in int8 (torch's dynamic fbgemm products) read a prompt 1.5 times as "
    "fast, which would just reach the goal. But they cost 1.14 nats of text NLL, 0.21 with the down projections left "
    "in fp32, and 0.17 with the attention's outputs in fp32 as well, where 0.01 is allowed. With native bf16, products "
    "are 67% of the reading time, at 0.85 of the peak. Reading 32 of these prompts was tried in turns (medians of 3, "
    "against 1,230 tokens/s as it was): batches of 512 tokens gave 0.92 times that rate, of 2,048 1.03, torch's fused "
    "norm 1.01, norm, MLP or rotation in place 1.00, 1.00 and 0.99, weights in oneDNN's own order 1.03 (whole "
    "decisions 1.08; adopted), all of these together 1.12",
    "prefill of the bare base, share of the fp32": "products of the base's narrow shapes reach 110 to 159 GFLOP/s (the "
    "widest, 576 by 1,536, 122), where the fastest product reaches 168. Attention, norms and activations take the "
    "rest, 22% of the time. These were tried in turns (medians of 5, in GFLOP/s of the whole reading): as it is 113, "
    "oneDNN's own order of the weights 119, activations in place with torch's fused norm 118, both 114, MLP and norm "
    "by torch.compile 106, with ordered weights 113. All are within the noise of a reading (5 to 7 s). Pieces of 512 "
    "to 2,048 rows are hardly faster (at most 6 to 11% for the narrowest), and q, k, v or gate, up in one product each "
    "are not",
    "bf16 ÷ fp32, prefill": "fp32 is already fast: where bf16 reads at 0.77 of its peak, 2.5 times fp32's rate would "
    "be 0.99 of it, which products of the base's narrow shapes do not reach",
    "bf16 ÷ fp32, fused training": "as with the prefill: where bf16 trains at 0.52 of its peak, 2.5 times fp32's rate "
    "would be 0.71 of it",
    "sequential PEFT ÷ fused": "one pass bears the whole cost of the trunk, which several passes share (two by "
    "default). A processor without bf16 is already busy with one act, so a batch does not use it better; the gain "
    "comes from what is not computed again: the trunk, the prompt of acts that share one, and the head where no token "
    "is learned. Without bf16 the pass runs at 0.55 of the peak and would have to reach 0.74; with bf16 it would have "
    "to reach 0.54 instead of 0.52",
    "512 people and their prior": "even at the peak the operations take longer than the goal allows, so only fewer "
    "operations would reach it: one pass instead of two, fewer adapted blocks, or fewer acts a person, at the cost "
    "that docs/adapters.md shows. The whole command took 54 minutes with native bf16 while tests ran beside it; "
    "without, 16 people took 170 to 185 s once, which makes 91 to 99 minutes",
    "16 clients, 96 prompt tokens: first token, p95": "a request waits for the pass at hand: a step of all texts in "
    "work, or the reading of a prompt that came before, which takes as long as its own; at the 95th percentile it "
    "waits for two. Pieces of a prompt between the steps of others would shorten it",
    "all measurements of 10,000 agents": "nearly half of the time goes into a hundred rewirings of the follow graph, "
    "with Leiden's communities of each, and ten Louvain partitions (at 2,000 agents 61 of 135 s, beside other work); a "
    "swap of edges has become 1.4 times as fast since",
}  # fmt: skip


def page(machines: Sequence[Mapping[str, Any]]) -> str:
    """The page: machine by machine, each with its parts in the order of `TITLES`; a part that was not run is named."""
    intro = (
        "# Benchmarks",
        *_first(machines),
        "Written by `python -m benchmarks --report` from the measurements of `make bench` in `benchmarks/results/`, "
        "one file for each kind of processor or GPU. Both sides of a ratio are measured in one run, after warming up; "
        "with repeats, the ratio is of medians, in *Serving* the median of the ratios. Goals that depend on the "
        "compute type are those of the machine's own type.",
    )
    return "\n\n".join([*intro, *(part for results in machines for part in _machine(results))]) + "\n"


def _first(machines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The figures that are asked for first, a column for each machine; nothing where none was measured."""
    measured = [{row["name"]: row for row in results["results"]} for results in machines]
    rows = [
        [title, *(_value(by_name[name]) if name in by_name else "–" for by_name in measured)]
        for name, title in FIRST.items()
        if any(name in by_name for by_name in measured)
    ]
    if rows:
        yield "**In short**, what it costs:"
        yield rendered(["figure", *(_short_name(results["machine"]) for results in machines)], rows, "markdown")


def _short_name(machine: Mapping[str, Any]) -> str:
    """A machine by what tells it from the others: its GPU, or the last of its instructions."""
    return str(machine.get("gpu") or f"{machine['processor']}, {machine['cores']} cores, {machine['flags'][-1]}")


def _value(row: Mapping[str, Any]) -> str:
    return f"{number(row['value'])} {row['unit']}".strip()


def _machine(results: Mapping[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in results["results"]:
        rows.setdefault(row["part"], []).append(row)
    gpu = f"{machine['gpu']} beside " if "gpu" in machine else ""
    yield f"## {gpu}{machine['processor']}, {machine['cores']} cores, {', '.join(machine['flags'])}"
    yield f"{versions}."
    if "remark" in results:
        yield results["remark"]
    yield from (f"### {title}\n\n{_table(rows[part])}" for part, title in TITLES.items() if part in rows)
    missed = list(_missed(results["results"]))
    if missed:
        yield "### Goals that are missed\n\n" + "\n".join(missed)
    absent = [f"`{part}`" for part in TITLES if part not in rows]
    if absent:
        yield f"Not measured on this machine yet: {', '.join(absent)}."


def reached(value: float, goal: str) -> bool | None:
    """Whether a value reaches a goal such as ``≤ 1.15``; None without a goal."""
    if not goal:
        return None
    sign, _, bound = goal.rpartition(" ")
    limit = float(bound.replace(",", "").rstrip("%")) / (100 if bound.endswith("%") else 1)
    return value >= limit if sign == "≥" else value <= limit if sign == "≤" else value == limit


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [
            row["name"],
            _value(row),
            row["goal"] or "–",
            _mark(row),
            str(row["repeats"]),
        ]
        for row in rows
    ]
    return rendered(["figure", "value", "goal", "reached", "repeats"], cells, "markdown")


def _mark(row: Mapping[str, Any]) -> str:
    return {True: "yes", False: "**no**", None: "–"}[reached(row["value"], row["goal"])]


def _missed(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each reason, with all the figures that it explains."""
    figures: dict[str, list[str]] = {}
    for row in rows:
        if reached(row["value"], row["goal"]) is False:
            reason = next((why for start, why in REASONS.items() if row["name"].startswith(start)), "not explained yet")
            figures.setdefault(reason, []).append(f"{row['name']}: {_value(row)} (goal {row['goal']})")
    for reason, named in figures.items():
        yield f"- {'; '.join(named)}: {reason}."


def write(folder: Path, target: Path) -> None:
    """Write the page from the results of all machines in a folder.

    Raises:
        SystemExit: Nothing was measured yet.
    """
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    if not found:
        raise SystemExit(f"benchmarks: {folder.name} holds nothing; run `make bench` first")
    target.write_text(page(found), encoding="utf-8")
