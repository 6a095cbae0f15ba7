"""Corpora whose activity is known, because agents of known settings made them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from polyphony.metrics.runfile.loading import load_run
from polyphony.personas.population import load_population
from polyphony.randomness import keyed_generator
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.world.clock import iso

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
FIELD = {"reply": "reply_to", "quote": "quote_of", "repost": "repost_of", "like": "like_of", "follow": "follow_of"}


def noise(people=16, acts=480, days=20, seed=0, replies=0.4):
    """Rows of people who act at any time alike: posts, and replies to any of the last posts of somebody else."""
    random = keyed_generator(seed, "noise corpus")
    minutes = sorted(random.integers(0, days * 24 * 60, size=acts))
    rows = []
    for number, minute in enumerate(minutes):
        author = f"h{random.integers(people)}"
        row = {"author": author, "id": f"n{number}", "text": f"words {number} of {author}",
               "created_at": iso(BEGAN + timedelta(minutes=int(minute)))}  # fmt: skip
        others = [before for before in rows[-20:] if before["author"] != author]
        if others and random.random() < replies:
            row["reply_to"] = others[int(random.integers(len(others)))]["id"]
        rows.append(row)
    return rows


def written(rows, path: Path) -> Path:
    """A file of posts."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def simulated(folder: Path, *, activation, followee_share=0.5, steps=240, seed=0, **history) -> Path:
    """A file of people who first act at random, and then as a run of the null policy with these settings."""
    before = noise(seed=seed, **history)
    population = load_population(written(before, folder / "before.jsonl"), split="person")
    settings = RunSettings(
        population="before", agents=len(population.personas), timesteps=steps, policy="null", activation=activation,
        seed=seed + 100, history=False,
    )  # fmt: skip
    settings = replace(settings, feed=replace(settings.feed, followee_share=followee_share))
    out = folder / "made.db"
    Runner(settings, bank=folder / "bank", population=population).run(settings, out, resume=False)
    return written(before + _rows(load_run(out), before), folder / "corpus.jsonl")


def _rows(run, before):
    """What agents did, as rows of a file of posts."""
    known = {(row["author"], row["text"]): row["id"] for row in before}
    post = {each.post_id: known[run.users[each.user_id], each.content] for each in run.posts if each.is_seed}
    comment = {each.comment_id: known[run.users[each.user_id], each.content]
               for each in run.comments if each.timestep < 0}  # fmt: skip
    texts = {each.post_id: each.own_text for each in run.posts}
    rows = []
    for number, act in enumerate(run.activations):
        if act.outcome != "ok" or act.act == "nothing":
            continue
        at = run.started_at + timedelta(hours=act.timestep, seconds=number % 3000)
        row = {"author": run.users[act.user_id], "id": f"s{number}", "created_at": iso(at), "text": ""}
        if act.act in FIELD:
            about = comment.get(act.target_comment_id) or post.get(act.target_post_id)
            row[FIELD[act.act]] = run.users[act.target_user_id] if act.act == "follow" else about
        if act.post_id is not None:
            post[act.post_id], row["text"] = row["id"], texts[act.post_id]
        if act.comment_id is not None:
            comment[act.comment_id], row["text"] = row["id"], run.comment_by_id[act.comment_id].content
        rows.append(row)
    return rows
