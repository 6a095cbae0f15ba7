"""Checks of a study before its results are believed, from its run files: ``data/studies/NAME/checks.json``."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from polyphony.metrics.figures.diversity import words_of
from polyphony.metrics.figures.memorisation import COPIED_WORDS, TrainingTexts
from polyphony.metrics.figures.texts import own_texts
from polyphony.metrics.runfile.database import open_run, read_rows
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData

REFERENCE, OWN = "base", "lora"
# How `adapters.prompting.prompt.PromptBuilder` ends its question.
QUESTION = re.compile(r"\byou may\b|\byou:", re.IGNORECASE)
# Of figures that should be nought and of figures that should be one.
LITTLE, NEARLY_ALL = 0.02, 0.999
FOUNDED, UNFOUNDED = "founded: read the differences with it", "unfounded"


def checks_of(directory: Path) -> list[dict[str, Any]]:
    """Each suspicion with the figure that speaks for or against it, over the finished runs of each size of a study.

    Args:
        directory: What `simulate study` wrote.

    Raises:
        MetricsError: A run cannot be read.
    """
    cells = json.loads((directory / "plan.json").read_text(encoding="utf-8"))["cells"]
    there = [cell for cell in cells if cell["label"] in (OWN, REFERENCE) and (directory / cell["file"]).is_file()]
    checks = []
    for agents in sorted({cell["agents"] for cell in there}):
        loaded = [
            replace(load_run(directory / cell["file"]), arm=cell["label"]) for cell in there if cell["agents"] == agents
        ]
        found = _checks_of_size([run for run in loaded if run.status == "finished"])
        checks += [{**check, "agents": agents} for check in found]
    return checks


def _checks_of_size(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    runs_of = {arm: [run for run in runs if run.arm == arm] for arm in (OWN, REFERENCE)}
    return [
        _check(
            "the arms do not start from the same place",
            "first feeds (agent, post) that own adapters and base have in common",
            _in_common(runs, _first_feeds), alike=True,
        ),
        _check(
            "the base is asked something else than own adapters",
            "first prompts (agent, digest of all that it was asked) that own adapters and base have in common",
            _in_common(runs, _first_prompts), alike=True,
        ),
        _check(
            "the arms do not wake the same agents",
            "activations (timestep, agent) that own adapters and base have in common",
            _in_common(runs, _woken), alike=True,
        ),
        *(
            _check(
                "seed posts leak into what is counted",
                f"{arm}: texts with {COPIED_WORDS} words in a row from a seed post that the agent was shown",
                _copied_from_seeds(own), alike=False,
            )
            for arm, own in runs_of.items()
        ),
        *(
            _check(
                "an arm fails more often than it acts",
                f"{arm}: activations that did not end well",
                _failed(own), alike=False,
            )
            for arm, own in runs_of.items()
        ),
        *(
            _check(
                "texts repeat the prompt, and the feed carries them on",
                f"{arm}: texts with words of the prompt's question (`You may`, `You:`)",
                _prompt_repeated(own), alike=False,
            )
            for arm, own in runs_of.items()
        ),
        *(_place_check(arm, own) for arm, own in runs_of.items()),
        *(_without_repeated_prompts(runs, what) for what in ("original posts", "comments")),
    ]  # fmt: skip


def label_check(folder: Path) -> list[dict[str, Any]]:
    """How far the base's choice of acts is one of labels, from the files of benchmarks/results/ that tell it."""
    checks = []
    for path in sorted(folder.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["results"]:
            if row["part"] == "grammars":
                figure = f"{row['name']} (`python -m benchmarks grammars`, {path.stem})"
                suspicion = "what the base does is what its labels attract, not what it would do"
                checks.append({**_check(suspicion, figure, row["value"], alike=False), "agents": None})
    return checks


def _without_repeated_prompts(runs: Sequence[RunData], what: str) -> dict[str, Any]:
    """Whether own adapters still differ from the base as they do where texts that repeat the prompt are left out."""
    pairs = [(_counted(own, what), _counted(base, what)) for own, base in _pairs(runs)]
    whole, clean = ([own[place] - base[place] for own, base in pairs] for place in (0, 1))
    check = _check(
        "a difference is one of texts that repeat the prompt",
        f"own less base: {what} without such texts",
        fmean(clean) if clean else None, alike=False,
    )  # fmt: skip
    if clean:
        turned, halved = fmean(whole) * fmean(clean) < 0, abs(fmean(clean)) < abs(fmean(whole)) / 2
        check["reading"] = FOUNDED if turned or halved else UNFOUNDED
    return check


def _counted(run: RunData, what: str) -> tuple[int, int]:
    """How many posts or comments a run has, and how many of them without words of the prompt's question."""
    posts = [post.own_text for post in run.own_posts if post.is_original]
    texts = posts if what == "original posts" else [comment.content for comment in run.own_comments]
    return len(texts), sum(not QUESTION.search(text) for text in texts)


def _place_check(arm: str, runs: Sequence[RunData]) -> dict[str, Any]:
    found = _first_of_feed(runs)
    check = _check(
        "acts go to a place in the feed instead of to a post",
        f"{arm}: share of acts upon a shown post that are upon the feed's first, less what any place would get",
        found and found[0], alike=False,
    )  # fmt: skip
    if found is not None:
        check["reading"] = UNFOUNDED if abs(found[0]) <= max(LITTLE, 2 * found[1]) else FOUNDED
    return check


def _check(suspicion: str, figure: str, value: float | None, *, alike: bool) -> dict[str, Any]:
    if value is None:
        reading = "no run to check"
    elif alike:
        reading = UNFOUNDED if value >= NEARLY_ALL else FOUNDED
    else:
        reading = UNFOUNDED if value <= LITTLE else FOUNDED
    return {"check": suspicion, "figure": figure, "value": value, "reading": reading}


def _pairs(runs: Sequence[RunData]) -> Iterator[tuple[RunData, RunData]]:
    by_key = {(run.arm, run.population, run.seed, len(run.agents)): run for run in runs}
    for (arm, *same), run in by_key.items():
        other = by_key.get((REFERENCE, *same))
        if arm == OWN and other is not None:
            yield run, other


def _in_common(runs: Sequence[RunData], of: Callable[[RunData], set[Any]]) -> float | None:
    """Share of what either run of a pair has that both have, mean over pairs."""
    pairs = [(own, base) for own, base in ((of(own), of(base)) for own, base in _pairs(runs)) if own | base]
    return fmean(len(own & base) / len(own | base) for own, base in pairs) if pairs else None


def _first_feeds(run: RunData) -> set[tuple[int, int, int | None]]:
    """Who was shown which post or reply in the first timestep, by the feed."""
    return {
        (each.user_id, each.post_id, each.comment_id)
        for each in run.exposures if each.timestep == 0 and each.source != "search"
    }  # fmt: skip


def _first_prompts(run: RunData) -> set[tuple[int, str]]:
    """Who was asked what in the first timestep; nobody where the run holds no digests of prompts."""
    with open_run(run.name) as connection:
        rows = read_rows(connection, "activation", "agent_id timestep prompt_digest", key="activation_id")
        return {(agent, digest) for agent, timestep, digest in rows if timestep == 0 and digest is not None}


def _woken(run: RunData) -> set[tuple[int, int]]:
    return {(each.timestep, each.user_id) for each in run.activations}


def _copied_from_seeds(runs: Sequence[RunData]) -> float | None:
    copied, written = 0, 0
    for run in runs:
        shown: dict[int, list[str]] = {}
        for each in run.exposures:
            post, reply = run.post_by_id.get(each.post_id), run.comment_by_id.get(each.comment_id or 0)
            if reply is not None and reply.timestep < 0:
                shown.setdefault(each.user_id, []).append(reply.content)
            elif reply is None and post is not None and post.is_seed:
                shown.setdefault(each.user_id, []).append(post.own_text)
        seeds = {user: TrainingTexts(texts) for user, texts in shown.items()}
        for text in own_texts(run):
            written += 1
            seen = seeds.get(text.user_id)
            copied += seen is not None and seen.longest_shared(words_of(text.text)) >= COPIED_WORDS
    return copied / written if written else None


def _prompt_repeated(runs: Sequence[RunData]) -> float | None:
    texts = [text.text for run in runs for text in own_texts(run)]
    return sum(bool(QUESTION.search(text)) for text in texts) / len(texts) if texts else None


def _first_of_feed(runs: Sequence[RunData]) -> tuple[float, float] | None:
    """Share of acts upon a shown post that are upon the first one less the expected, and its standard error."""
    surplus: list[float] = []
    for run in runs:
        feeds: dict[tuple[int, int], list[tuple[int, tuple[int, int]]]] = {}
        for shown in run.exposures:
            item = (shown.post_id, shown.comment_id or 0)
            feeds.setdefault((shown.timestep, shown.user_id), []).append((shown.position, item))
        for each in run.activations:
            feed, target = sorted(feeds.get((each.timestep, each.user_id), [])), each.target_post_id
            if target is not None and (about := (target, each.target_comment_id or 0)) in {item for _, item in feed}:
                surplus.append((feed[0][1] == about) - 1 / len(feed))
    if len(surplus) < 2:
        return None
    return fmean(surplus), stdev(surplus) / len(surplus) ** 0.5


def _failed(runs: Sequence[RunData]) -> float | None:
    outcomes = [each.outcome for run in runs for each in run.activations]
    return sum(outcome != "ok" for outcome in outcomes) / len(outcomes) if outcomes else None
