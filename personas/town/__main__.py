"""``python -m polyphony.personas.town``: generate a town, write it and print its counts and rates."""

from polyphony.import_path import leave_current_folder

leave_current_folder()

# ruff: noqa: E402 - only now are a user's own files out of the way
import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from polyphony.errors import InputError
from polyphony.personas.town.check import conversations, possible_sentences, repetition
from polyphony.personas.town.generate import PEOPLE, TOWN_VERSION, Town, generate_town, write_town
from polyphony.personas.town.lexicon import load_lexicon
from polyphony.personas.town.timeline import TimelineRow


def verb_of(row: TimelineRow) -> str:
    """Return the act that a row of the posts file holds."""
    for key, verb in (("follow_of", "follow"), ("like_of", "like"), ("repost_of", "repost"), ("quote_of", "quote")):
        if key in row:
            return verb
    return "reply" if "reply_to" in row else "post"


def report(town: Town) -> str:
    """Return the town's counts and rates as lines of text."""
    verbs = Counter(verb_of(row) for row in town.rows)
    rates, talk = repetition(town.rows), conversations(town.rows)
    within = town.truth["act_variance_within_agents"]
    people = len(town.truth["people"])
    home = {handle: facts["community"] for handle, facts in town.truth["people"].items()}
    inside = sum(home[row["author"]] == home[row["follow_of"]] for row in town.rows if "follow_of" in row)
    lines = [
        f"town {TOWN_VERSION}, seed {town.seed}: {people} people, {len(town.truth['communities'])} communities, "
        f"{len(town.truth['topics'])} topics, {len(town.truth['issues'])} issues",
        "acts: " + ", ".join(f"{verb} {count:,}" for verb, count in sorted(verbs.items())),
        f"follows inside communities: {inside / max(1, verbs['follow']):.1%} of {verbs['follow']:,}",
        f"replies that are answered: {talk.answered:.1%}, by whom they answer {talk.answered_back:.1%}; turns below a "
        f"post with replies: {talk.depth:.2f} in the mean, {talk.deepest} at most",
        f"variance of act probabilities within people: {within['value']:.1%}, over {within['moments']:,} moments",
        f"texts: {rates.texts:,}; exact duplicates {rates.duplicates:.2%}; "
        f"near-duplicates {rates.near_duplicates:.2%}; sentences shared between people {rates.shared_sentences:.2%}",
        f"possible first sentences, at least: {possible_sentences(load_lexicon()):,}",
        f"sha256 of the posts: {town.digest()}",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 wrong input."""
    parser = argparse.ArgumentParser(prog="python -m polyphony.personas.town", description="Generate a synthetic town.")
    parser.add_argument("--seed", type=int, default=0, help="what the town is drawn from (default 0)")
    parser.add_argument("--people", type=int, default=PEOPLE, help=f"how many people (default {PEOPLE})")
    parser.add_argument("--out", type=Path, required=True, help="folder for its three files")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    try:
        town = generate_town(options.seed, options.people)
        paths = write_town(town, options.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(town))
    print(f"wrote {', '.join(map(str, paths))} in {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
