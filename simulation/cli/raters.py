"""``simulate raters``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from polyphony.errors import InputError
from polyphony.simulation.cli.ending import command
from polyphony.simulation.cli.options import MOST_NUMBER, JsonOption, in_range, path
from polyphony.simulation.cli.printing import figure, print_results, say


def raters(
    sources: Annotated[
        list[str],
        typer.Argument(help="Runs of the arms lora and shuffled, or a study; with --score, files of answers."),
    ],
    out: Annotated[
        Path,
        typer.Option(help="HTML form to write. Its key is written beside it, as NAME.key.csv.", parser=path),
    ] = Path("raters.html"),
    trials: Annotated[int, typer.Option(**in_range(1, 1000, "Number of trials in the form."))] = 40,
    seed: Annotated[int, typer.Option(**in_range(0, MOST_NUMBER, "Random seed of what is drawn."))] = 0,
    by_proxy: Annotated[
        bool, typer.Option("--proxy", help="Ask a classifier instead of people, and write no form.")
    ] = False,
    score: Annotated[bool, typer.Option("--score", help="Score files of answers with --key.")] = False,
    key: Annotated[Path | None, typer.Option(help="With --score: the key of the form.", parser=path)] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a form for human raters, score their answers, or ask a classifier: own adapter, shuffled or real?"""
    if score and by_proxy:
        raise InputError("--proxy asks a classifier, --score reads what people answered: leave one of the two out")
    if score != (key is not None):
        raise InputError("--score and --key go together: give files of answers, --score, and the .key.csv of the form")
    if as_json and not (score or by_proxy):
        raise InputError("--json is for figures: give --proxy or --score with it")
    if key is not None:
        _print_scores(sources, key, as_json)
    elif by_proxy:
        _print_proxy(sources, seed, as_json)
    else:
        _write_form(sources, out, trials, seed)


def _write_form(sources: list[str], out: Path, count: int, seed: int) -> None:
    from polyphony.durable import write_durably
    from polyphony.metrics.raters.answers import key_text
    from polyphony.metrics.raters.form import MARK, form_page
    from polyphony.metrics.raters.material import read_material
    from polyphony.metrics.raters.trials import make_trials

    if out.suffix.lower() != ".html":
        raise InputError(f"--out {out}: give a name that ends in .html")
    key = out.with_suffix(".key.csv")
    if out.exists() and (not out.is_file() or MARK.encode() not in out.read_bytes()[:200]):
        raise InputError(f"{out}: is no rating form and is not replaced; choose another --out")
    if key.exists():
        raise InputError(f"{key}: is the key of a form that raters may have; choose another --out, or remove it")
    drawn = make_trials(read_material(sources), count, seed)
    write_durably(key, key_text(drawn).encode())
    write_durably(out, form_page(drawn).encode())
    say(f"form: {out}\nkey, which raters must not see: {key}")
    say("Raters read posts of people: see docs/ethics.md before you send the form to anybody. Score the answers with")
    say(f"  {command('raters', '--score', '--key', key, 'ANSWERS.csv')}")


def _print_scores(sources: list[str], key: Path, as_json: bool) -> None:
    from polyphony.metrics.core.labels import number, span
    from polyphony.metrics.raters.answers import read_answers, read_key, score_raters

    key_of_form = read_key(key)
    results = score_raters(read_answers([path(source) for source in sources], key_of_form), key_of_form)
    if as_json:
        print(json.dumps({"trials": [{**score._asdict(), "verdict": score.verdict} for score in results]}))
        return
    headers = ("trials", "accuracy", "95% interval (Wilson)", "95% interval over raters", "answers", "raters",
               "agreement (alpha)", "verdict")  # fmt: skip
    rows = [
        (score.kind, number(score.accuracy), span(score.wilson), span(score.over_raters) or "–", str(score.answers),
         str(score.raters), number(score.alpha), score.verdict)
        for score in results
    ]  # fmt: skip
    print_results(headers, rows, "how often raters were right (chance: 0.5)")


def _print_proxy(sources: list[str], seed: int, as_json: bool) -> None:
    from polyphony.metrics.core.labels import number, span
    from polyphony.metrics.raters.material import read_material
    from polyphony.metrics.raters.proxy import proxy

    results = proxy(read_material(sources), seed)
    if as_json:
        print(json.dumps({"questions": [{**result._asdict(), "verdict": result.verdict} for result in results]}))
        return
    rows = [
        (" or ".join(result.kinds), result.by, number(result.accuracy), span(result.interval) or "–",
         figure(result.texts), figure(result.people), result.verdict)
        for result in results
    ]  # fmt: skip
    headers = ("question", "told by", "accuracy", "95% interval", "texts", "people", "verdict")
    print_results(headers, rows, "how often a classifier is right (chance: 0.5)")
