"""docs/results.md and its figure, all generated from the committed studies: ``python -m benchmarks.results_page``."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.claims import EXPLAINED, Row, claim_rows
from benchmarks.claims_figure import draw, ours, percent, verdict_words
from benchmarks.results_answer import answer, in_figures
from benchmarks.stored_study import OWN, REFERENCE, Claim, Stored, verdict
from benchmarks.study_checks import checks_of, label_check
from polyphony.metrics.core.effect_rule import RULE
from polyphony.metrics.core.labels import arm_sentence, number, probability, signed, span
from polyphony.metrics.core.paired import PairedDifference
from polyphony.metrics.core.registry import PRIMARY, title_of
from polyphony.metrics.studies.comparison_table import rendered
from polyphony.metrics.studies.parts import read_report, united
from polyphony.metrics.studies.plan import PLAN_FILE, STUDY_FILE
from polyphony.metrics.studies.report import tables, write_report
from polyphony.metrics.studies.study import Study, read_study
from polyphony.printable import code_spans
from polyphony.simulation.runs.options import OPTIONS, complete

ROOT = Path(__file__).resolve().parent.parent
STUDIES = {
    "pilot": "built-in towns", "town": "the built-in town", "real": "real authors (2002 mailing lists)",
}  # fmt: skip
SHORT = {"town": "town", "real": "real authors"}
_NUMBERS = ("no towns", "one town", "two towns", "three towns", "four towns")
CHECKS_FILE = "checks.json"
FIGURE = "results.svg"
TRAINING = ("rank", "examples", "init", "top_blocks", "targets", "epochs", "learning_rate", "storage")


# Each control, what it leaves of the adapters, and the figures in which that should be seen.
CONTROLS = {
    "shuffled": "the same adapters on other people; the difference is what the right person's adapter adds",
    "pooled": "one adapter for all; the difference is what an adapter for each person adds",
    "act-matched": "verbs from the history, words by the base; the difference is more than restored posting",
    "lora-noprompt": "the adapters without the persona prompt; the difference is what the prompt adds",
    "fewshot": "the person's posts in the prompt; the difference is what training adds to reading them",
    REFERENCE: "the shared model itself; the difference is everything that adapters change",
}
CONTROLLED = (
    *PRIMARY, "original_post_share", "nothing_share", "attribution_accuracy", "topic_recovery", "style_recovery",
    "act_distance_to_history", "act_entropy_bits", "vendi",
)  # fmt: skip
AGAINST_CHANCE = (
    "modularity", "within_community_homophily", "within_community_homophily_characters", "exposure_adjusted_homophily",
    "planted_assortativity", "stance_spread", "co_engagement_modularity", "stance_side_homophily",
)  # fmt: skip
PEOPLE = (
    "attribution_accuracy", "attribution_ceiling", "topic_recovery", "topic_ceiling", "style_recovery", "style_ceiling",
    "nothing_share", "act_distance_to_history", "next_act_f1",
    "next_act_f1_most_frequent", "next_act_f1_history", "next_act_f1_trees", "copied_words_mean", "near_copy_rate",
    "membership_gap",
)  # fmt: skip
CLASSICAL = ("next_act_f1_most_frequent", "next_act_f1_history", "next_act_f1_trees")


def page(
    studies: Mapping[str, Mapping[str, Any]],
    checks: Mapping[str, Mapping[str, Any]],
    needs: Mapping[str, str] | None = None,
) -> str:
    """The whole text.

    The answer is of the studies of today's version. Where there is none, it is of those of an earlier one.

    Args:
        studies: Name, as in `STUDIES`, to the content of its ``study.json``.
        checks: The same for its ``checks.json``, where there is one.
        needs: The same for a table of what the full study needs, of those whose runs are of today's version.
    """
    stored = {name: Stored(content) for name, content in studies.items()}
    answering = answering_studies(studies)
    earlier = {name: content for name, content in studies.items() if name not in answering}
    rows = rows_of(studies)
    answered = answer({_short(name, stored[name]): stored[name] for name in answering}, rows)
    parts = [
        _TITLE, _QUESTION, f"## The answer\n\n{answered}",
        f"![{_ALT}]({FIGURE})", f"## The claims one by one\n\n{_VERDICTS}", _verdicts(rows),
        *_threats(any(not stored[name].is_earlier for name in answering), earlier),
    ]  # fmt: skip
    parts += [f"## What the full study needs\n\n{_NEEDS}\n\n{table}" for table in (needs or {}).values()]
    for name, study in stored.items():
        of_then = [_EARLIER[name]] if study.is_earlier else []
        parts += [f"## Appendix: {STUDIES[name]}", *of_then, *_sections(name, study, checks.get(name))]
    return "\n\n".join(parts) + "\n"


def answering_studies(studies: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The studies of which the page's answer and figure are: those of today's version, or all where there is none."""
    current = {name: content for name, content in studies.items() if not Stored(content).is_earlier}
    return current or dict(studies)


def rows_of(studies: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The rows of the figure and of the first table.

    Args:
        studies: Name, as in `STUDIES`, to the content of its ``study.json``.
    """
    return _claim_rows(answering_studies(studies))


def _claim_rows(studies: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    stored = {name: Stored(content) for name, content in studies.items()}
    return claim_rows({_short(name, study): study for name, study in stored.items()})


def _short(name: str, study: Stored) -> str:
    """The people of a study in two words; the towns are counted of which there are finished runs."""
    return SHORT.get(name) or _NUMBERS[len(study.populations)]


def _threats(is_current: bool, earlier: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the figures above do not carry, and what became of the earlier runs where they are not those above."""
    if not is_current:
        return [_BESIDE, _THREATS, f"{_CONFOUNDS}\n{_PILOT_RUNS}", f"{_ALWAYS}\n{_FEW_SEEDS}"]
    parts = [_BESIDE_CURRENT, _THREATS, f"{_ALWAYS}\n{_ONE_GENERATOR}"]
    rows = _claim_rows(earlier)
    return [*parts, f"## What became of the earlier runs\n\n{_OF_EARLIER}\n\n{_CONFOUNDS}", _verdicts(rows)]


def _verdicts(rows: Sequence[Row]) -> str:
    """The figure as a table, with the controls."""
    headers = [
        "claim", "population, agents", "paper", "own", "base", "ours (95% interval)", "power", "own less pooled",
        "own less act-matched", "verdict", "why",
    ]  # fmt: skip
    cells = [
        [
            title_of(row.claim.measurement), f"{row.population}, {row.agents}", row.claim.short(row.agents),
            number(row.own), number(row.base), ours(row), percent(row.power),
            *(_against(row, control) for control in ("pooled", "act-matched")), verdict_words(row),
            "own is not shown to go beyond it" if row.verdict.kind == EXPLAINED else row.verdict.reason,
        ]
        for row in rows
    ]  # fmt: skip
    return rendered(headers, cells, "markdown")


def _against(row: Row, control: str) -> str:
    paired = row.controls.get(control)
    return "not run" if paired is None else f"{signed(paired.mean)} ({span(paired.interval)})"


def _sections(name: str, study: Stored, checks: Mapping[str, Any] | None) -> Iterator[str]:
    if figures := in_figures(STUDIES[name], study):
        yield figures
    yield _in_short(study)
    yield _method(study)
    yield f"### The paper's table\n\n{_CELLS}\n\n" + _table(study)
    yield from (f"![{title_of(each)}](../data/studies/{name}/figures/{each}.svg)" for each in PRIMARY)
    yield "### What the paper says, and what came out\n\n" + _claims(study)
    yield f"### What the controls say\n\n{_CONTROLS}\n\n" + _controls(study)
    yield f"### Against chance\n\n{_CHANCE}\n\n" + _by_arm(study, AGAINST_CHANCE, _z_cell)
    yield f"### Fidelity and content safety\n\n{_PEOPLE}\n\n" + _by_arm(study, PEOPLE, _mean_cell)
    yield _classical(study)
    if checks:
        yield "### Checks of ourselves\n\n" + _checks(checks)


def _in_short(study: Stored) -> str:
    """Verdicts on the paper's claims, and in which of its figures own adapters differ from each control."""
    verdicts: dict[str, list[str]] = {}
    for claim in study.claims:
        for size in study.sizes:
            found = study.paired(claim.measurement, OWN, REFERENCE, size)
            if found is not None:
                verdicts.setdefault(verdict(found, claim.side(size)), []).append(
                    f"{title_of(claim.measurement)} ({size})"
                )
    lines = [f"- Own adapters against the base, {verdict}: {', '.join(names)}." for verdict, names in verdicts.items()]
    for control in (each for each in CONTROLS if each != REFERENCE):
        there = {
            f"{title_of(name)} ({size})": found
            for name in PRIMARY
            for size in study.sizes
            if (found := study.paired(name, OWN, control, size)) is not None and found.interval is not None
        }
        if there:
            apart = [
                f"{'more' if found.mean > 0 else 'less'} {name}" for name, found in there.items() if found.direction
            ]
            lines.append(f"- Own adapters against `{control}`, interval without 0: {', '.join(apart) or 'nowhere'}.")
    if not lines:
        return "**In short**: nothing to compare yet; a comparison takes own adapters and another arm."
    return f"{_IN_SHORT}\n\n" + "\n".join(lines)


def _method(study: Stored) -> str:
    options = study.plan["options"]
    planned = study.plan["cells"]
    run = study.found["runs"][0]
    seeds = {size: {arm: len(study.figures("original_posts", arm, size)) for arm in study.arms} for size in study.sizes}
    lines = [
        f"{len(study.found['runs'])} runs of {len(planned)} planned: {options['steps']} timesteps of "
        f"{options['minutes_per_step']} minutes, {number(options['activation'])} expected acts an agent and timestep, "
        f"recommender `{options['recommender']}`, temperature {number(options['temperature'])}. {_weights(options)} "
        f"Base model `{run['settings']['base_hash'] or 'none'}`. Arms are paired by seed: one seed has the same "
        "people, graph, seed posts, activations and feed rules in every arm.",
        "Arms:\n" + "\n".join(f"- `{arm}`: {arm_sentence(arm)}" for arm in study.arms),
        f"{'Seeds' if len(study.populations) == 1 else f'Runs of {len(study.populations)} populations'}, by size:\n"
        + "\n".join(
            f"- {size} agents, computed in {study.compute_type(size)}: "
            + ", ".join(f"`{arm}` {count}" for arm, count in counts.items() if count)
            for size, counts in seeds.items()
        ),
    ]
    lacking = [file.removeprefix("runs/").removesuffix(".db") for file in study.found["unfinished"]]
    if lacking:
        lines.append(f"Planned and not run yet: {code_spans(lacking)}.")
    return "\n\n".join(lines)


def _weights(options: Mapping[str, Any]) -> str:
    if options.get("weights") == "serving":
        return "Adapters: those that come with a checkout (`simulate bank ready`, see docs/bank.md)."
    # A plan of an earlier version holds null where an option had its default.
    asked = [f"{name} {options[name]}" for name in TRAINING if options.get(name) not in (None, OPTIONS[name].default)]
    return f"Adapters: trained with {', '.join(asked)}." if asked else "Adapters: `simulate train`'s defaults."


def _table(study: Stored) -> str:
    headers = ["arm", *(f"{title_of(name)}, {size}" for name in PRIMARY for size in study.sizes)]
    rows = [
        [f"`{arm}`", *(_mean_cell(study, name, arm, size) for name in PRIMARY for size in study.sizes)]
        for arm in study.arms
    ]
    return rendered(headers, rows, "markdown")


def _mean_cell(study: Stored, name: str, arm: str, size: int) -> str:
    mean = study.mean(name, arm, size)
    if mean is None:
        return "–"
    interval = study.interval(name, arm, size)
    return f"{number(mean)} ({f'{span(interval)}; ' if interval else ''}{len(study.figures(name, arm, size))})"


def _z_cell(study: Stored, name: str, arm: str, size: int) -> str:
    return number(study.combined_z(name, arm, size))


def _claims(study: Stored) -> str:
    there = study.tested
    rows = []
    for claim in study.claims:
        for size in study.sizes:
            if (claim, size) not in there:
                continue
            found, corrected = there[claim, size]
            means = [number(study.mean(claim.measurement, arm, size)) for arm in (OWN, REFERENCE)]
            rows.append([
                title_of(claim.measurement), claim.words, str(size), *means,
                *_ratio_cells(study, claim, found, size), *_difference_cells(found), probability(found.p),
                probability(corrected) if claim.measurement in PRIMARY else "exploratory",
                verdict(found, claim.side(size)),
            ])  # fmt: skip
    headers = [
        "figure", "paper: own against base", "agents", "own", "base", "ratio", "reported ratio", "alike?",
        "difference", "95% interval", "d", "seeds", "p", "p (Holm)", "verdict",
    ]  # fmt: skip
    return f"{_CLAIMS}\n\n" + rendered(headers, rows, "markdown")


def _ratio_cells(study: Stored, claim: Claim, found: PairedDifference, size: int) -> list[str]:
    """The ratio with its interval, whether that excludes what was reported, and the verdict of equivalence."""
    alike = study.equivalence(claim.measurement, OWN, REFERENCE, size)
    own, reference = (study.mean(claim.measurement, arm, size) for arm in (OWN, REFERENCE))
    if alike is None or found.interval is None:
        alike_words, interval = "–", None
    else:
        alike_words, interval = alike.verdict, alike.interval
    possible = "–" if claim.reported is None else claim.reported.verdict(size, found.interval, interval)
    if not claim.ratio or own is None or not reference:
        return ["–", possible, alike_words]
    within = f" ({span(interval)})" if interval else ""
    return [number(own / reference) + within, possible, alike_words]


def _difference_cells(found: PairedDifference) -> list[str]:
    return [signed(found.mean), span(found.interval) or "–", number(found.effect_size), str(found.n)]


def _controls(study: Stored) -> str:
    parts = []
    for control, meaning in CONTROLS.items():
        rows = [
            [title_of(name), str(size), *_difference_cells(found)]
            for name in CONTROLLED
            for size in study.sizes
            if (found := study.paired(name, OWN, control, size)) is not None
        ]
        if rows:
            headers = ["figure", "agents", f"own less {control}", "95% interval", "d", "seeds"]
            parts.append(f"**`{control}`**: {meaning}.\n\n" + rendered(headers, rows, "markdown"))
    return "\n\n".join(parts)


def _by_arm(study: Stored, names: Sequence[str], cell: Callable[[Stored, str, str, int], str]) -> str:
    headers = ["figure", "agents", *(f"`{arm}`" for arm in study.arms)]
    measured = {name for run in study.found["runs"] for name in run["measurements"]}
    rows = [
        [title_of(name), str(size), *(cell(study, name, arm, size) for arm in study.arms)]
        for name in names if name in measured for size in study.sizes
    ]  # fmt: skip
    return rendered(headers, rows, "markdown")


def _classical(study: Stored) -> str:
    """Where a classical baseline predicts people's next acts better than the simulation, or as well."""
    told: dict[str, list[str]] = {}
    for size in study.sizes:
        best = _best_classical(study, size)
        found = study.better(best, "next_act_f1", OWN, size)
        if found is None:
            continue
        verdict = _THAN[found.direction]
        own, other = study.mean("next_act_f1", OWN, size), study.mean(best, OWN, size)
        interval = f", difference {span(found.interval)}" if found.interval else ""
        told.setdefault(verdict, []).append(
            f"{title_of(best).lstrip('– ')} at {size} agents ({number(other)} against {number(own)}{interval})"
        )
    if not told:
        return "No run says how well next acts are predicted."
    return " ".join(
        f"The best classical baseline predicts people's next acts {verdict} their own adapters: {'; '.join(each)}."
        for verdict, each in told.items()
    )


_THAN = {1: "better than", 0: "neither better nor worse than", -1: "worse than"}


def _best_classical(study: Stored, size: int) -> str:
    return max(CLASSICAL, key=lambda name: study.mean(name, OWN, size) or 0.0)


def _checks(checks: Mapping[str, Any]) -> str:
    rows = [
        [each["check"], each["figure"], str(each["agents"] or "–"), number(each["value"]), each["reading"]]
        for each in checks["checks"]
    ]
    return rendered(["suspicion", "figure", "agents", "value", "reading"], rows, "markdown")


_TITLE = "# What do per-person adapters change in a simulated society?"

_QUESTION = """## The question

Does a population in which every agent owns a small adapter, trained on one person's posts, behave differently from one
that shares a base model, as "On the Scaling of PEFT" (arXiv 2606.02437) reports from one seed a cell? And is it the
adapter of each person that does it?"""

_ALT = "Each claim of the paper at each size of each population: the reported and our ratio, power and verdict"

_VERDICTS = """\
- `reproduced`: the 95% interval leaves out no difference, on the paper's side, and so do those against `pooled`
  (one adapter for all) and `act-matched` (verbs from histories, words by the base) where they ran. It does not
  leave out the reported ratio.
- `explained by` a control: own adapters differ from the base on that side, but are not shown to go beyond the
  control.
- `refuted`, in this population: the interval leaves out the reported ratio or lies on the other side, or both are
  shown to be within 25% where the paper reports more. `cannot tell`: none of these.

*Power* is the chance that our test finds the least ratio that the paper reports at that size, or 25% of the base
where it gives no ratio, with so many seeds and the standard deviation of their differences (noncentral F). That
standard deviation is itself rough with three to five seeds."""

_BESIDE = """\
Intervals are of paired t tests over seeds, not corrected for the number of rows; the appendix has p after Holm's
correction for the four primary figures. The paper's counts are of runs of another length, so only their direction
is held to ours. Its communities and modularity are of the graph of co-engagement, ours of the graph of
interactions: *refuted* says that the figure does not carry over to our graph. Its homophily is of stance sides;
that, its Gini of likes and its top 10% share were not measured in these runs. The figure
and every number of the answer and of the tables are generated from `data/studies/` by
`python -m benchmarks.results_page`."""

_BESIDE_CURRENT = """\
Intervals are of a mixed model with the population as a random effect, paired by population and seed, and not
corrected for the number of rows; the appendix has p after Holm's correction for the four primary figures. The paper's
counts are of runs of another length, so only their direction is held to ours. Communities, modularity and homophily
are measured as the paper defines them, on the graph of co-engagement and on the sides of ties. It reports 128, 256
and 512 agents of one community. The figure and every number of the answer and of the tables are generated from
`data/studies/` by `python -m benchmarks.results_page`."""

_THEN = """**These runs are of an earlier version: agents did not react to what they saw, and replies could not be
answered. They have not been repeated.**"""
_EARLIER = {"town": _THEN.replace("They have", "The town was of version 1. They have"), "real": _THEN}

_IN_SHORT = """**In short**, for the paper's four figures and stance spread, with the population size in brackets. The
95% intervals are over seeds (over populations, where there are several) and not corrected for the number of
comparisons:"""

_CELLS = """Arms in rows, population sizes in columns. Cells hold the mean over seeds and, in brackets, its 95% interval
(Student's t) and the number of seeds. With several populations, mean and interval are over these, and the number is of
runs."""

_CLAIMS = """\
Interval, p and verdict are of one paired t test over seeds, or over populations where there are several. The verdict
says where the interval lies, seen from the paper's side; *undecided* means that it holds 0. What the controls make
of it is said above. p (Holm) is corrected over the four primary figures at one size; if it is above 0.05, a verdict
may be due to the number of figures. The ratio's interval is Fieller's, of the same test; where it is lacking, the
base's mean is not told from 0. *Excluded* means that it lies apart from all ratios that the paper reports, on its
graph of co-engagement. *Alike?* says whether own adapters are shown to be within 25% of the base."""

_CONTROLS = f"""Own adapters minus each control, paired by seed. Intervals are as above and not corrected for the number
of comparisons: where nothing differs, one in twenty excludes 0 by chance. {RULE}"""

_CHANCE = """z of each figure against its null model in the same run, combined over seeds by Stouffer's method: the sum
of the seeds' z divided by the root of their number. Values within ±2 are what chance gives. The null models are
degree-preserving rewirings for modularity, permuted community labels for homophily and stances, permuted answers among
the shown authors for the exposure-adjusted figure, and permuted planted communities for assortativity. A stance spread
within ±2 is that of the population, whoever is in which community: a difference between arms then lies in what is said,
not in who meets whom."""

_PEOPLE = """How closely the simulation matches these people, and what a release of their adapters would reveal. The
ceilings are the same classifiers on the people's real held-out posts. Copied words are counted against a person's own
training posts. Cells are as in the paper's table."""

_THREATS = "## Threats to validity"

_CONFOUNDS = """What the confounds of these runs, which are of an earlier version, make of the verdicts:

- **Training windows and verb menus differed between arms.** So a difference between own adapters and another arm is
  not only of whose adapter it is. *Reproduced* may still be due to these, and *refuted* too. The real authors'
  histories hold posts and replies alone: what own adapters write less of posts than `pooled`, they write more of
  comments.
- **Agents did not react to what they saw.** What depends on reactions (communities, modularity, homophily) was not
  put to a fair test: the paper's agents may differ here where ours could not.
- **`nothing` is never in a history**, so own adapters hardly ever choose it, while the base does (the appendix
  shows its share). This alone explains a part of every difference from the base in counts; original posts as a
  share of acts leave it out. The adapters of `pooled` and the verbs of `act-matched` come from the same histories.
- **Seeds share people and adapters.** Intervals speak of other runs of the same people, not of other populations.
- **Stance spread is the spread on an axis of topics.** A referee found that it correlates with the true stances of
  the town by 0.21 at most. So its rows say nothing of stances, whatever their verdict."""

_PILOT_RUNS = """\
- **The pilot that mends this is being run and is not on this page**: its plan (`data/studies/pilot.toml`) is
  locked."""

_ALWAYS = """What holds of any such study:

- **One base model.** It is the embedded one, small enough for a laptop. Base models behave differently without
  adapters, so every difference from the base may change with another model.
- **The town is synthetic.** Its people differ by construction, and its texts come from a grammar. The real authors
  wrote to mailing lists, not on a social platform; their mails are treated as posts and replies. Neither population
  has likes or follows of real people.
- **Short runs.** A simulated day or less is too short for communities to settle; interaction graphs are sparse.
- **Homophily of texts is partly caused by the feed.** In every arm the feed may show posts that resemble the
  agent's own history; `exposure_adjusted_homophily` leaves that part out, the others do not.
- **The base repeats its prompt** in some of its texts, and feeds spread them (see the checks). It is not known what
  a base without that habit would do; the checks count without such texts.
- **There are many figures.** The four of the paper's table were named beforehand; the others are exploratory."""

_FEW_SEEDS = """\
- **There are few seeds.** Intervals are wide, and the power is low for counts. Where power is low, a difference that
  is found is likely larger here than in truth (Gelman & Carlin 2014)."""

_ONE_GENERATOR = """\
- **The towns come from one generator.** They differ in people, ties and texts, and share a grammar and a list of
  topics. Intervals speak of other towns of this generator.
- **There are few towns.** Intervals are wide. Where power is low, a difference that is found is likely larger here
  than in truth (Gelman & Carlin 2014)."""

_OF_EARLIER = """The rows below were this page's answer before the pilot. They are not held to today's claims, because
agents of that version did not react, and their figures are of other graphs and of other measures of stance."""

_NEEDS = """Simulated from the standard deviations of the runs above, see docs/studies.md. In brackets the same with the
upper 80% limits of the variances."""


def main() -> None:
    """Write docs/results.md and its figure from what is committed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=Path, default=ROOT / "data" / "studies")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results.md")
    parser.add_argument("--take", type=Path, help="folder of finished studies, each named as in STUDIES, to commit")
    parser.add_argument(
        "--renew", action="store_true", help="write the committed reports anew from the figures of runs that they hold"
    )
    asked = parser.parse_args()
    if asked.take is not None:
        take(asked.take, asked.studies)
    if asked.renew:
        renew(asked.studies)
    studies, checks = read(asked.studies)
    asked.out.write_text(page(studies, checks, needs_of(asked.studies, studies)), encoding="utf-8")
    draw(rows_of(studies), asked.out.with_name(FIGURE))


def take(made: Path, into: Path) -> None:
    """Add what is finished of studies to what is committed, and check it; run files and paths stay behind.

    A study may be run in parts, on several days and machines: committed cells that `made` lacks stay as they are.
    """
    for name in STUDIES:
        if not (made / name / PLAN_FILE).is_file():
            continue
        part = _without_paths(read_study(made / name))
        if not part.runs:
            continue
        target = into / name
        target.mkdir(exist_ok=True)
        before = [read_report(target)] if (target / STUDY_FILE).is_file() else []
        write_report(united([_with_all_options(study) for study in (*before, part)], target))
        labels = label_check(results.FOLDER)
        _write_checks(target / CHECKS_FILE, [*checks_of(made / name), *labels])


def renew(studies: Path) -> None:
    """Write the reports of committed studies anew, with today's tests, from the figures of runs that they hold."""
    for name in STUDIES:
        if (studies / name / STUDY_FILE).is_file():
            write_report(read_report(studies / name))


def _with_all_options(part: Study) -> Study:
    """The study with a value for each option: a plan of an earlier version holds null, or nothing, for a default."""
    options = {name: value for name, value in part.plan["options"].items() if value is not None}
    return replace(part, plan={**part.plan, "options": complete(options, str(part.directory))})


def _without_paths(part: Study) -> Study:
    """The study with names instead of this machine's paths."""
    options = part.plan["options"]
    names = {"population": Path(options["population"]).name} if "population" in options else {}
    plan = {**part.plan, "options": {**options, **names}}
    runs = tuple(replace(run, source=Path(run.source).name) for run in part.runs)
    return replace(part, plan=plan, runs=runs)


def _write_checks(path: Path, new: Sequence[Mapping[str, Any]]) -> None:
    """Write checks down beside those of other parts; a check that a part could not make leaves what is known."""
    known = json.loads(path.read_text(encoding="utf-8"))["checks"] if path.is_file() else []
    found = {(each["check"], each["figure"], each["agents"]): each for each in known}
    for each in new:
        key = each["check"], each["figure"], each["agents"]
        if each["value"] is not None or key not in found:
            found[key] = each
    checks = sorted(found.values(), key=lambda each: each["agents"] or 0)
    path.write_text(json.dumps({"checks": checks}, indent=1) + "\n", encoding="utf-8")


def needs_of(folder: Path, studies: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What a full study needs, simulated from each committed study of today's version that can be compared."""
    reports = {
        name: tables(read_report(folder / name)) for name, content in studies.items() if not Stored(content).is_earlier
    }
    return {name: rendered(*report["power"], "markdown") for name, report in reports.items() if "power" in report}


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The studies of a folder, and their checks."""
    return tuple(
        {
            name: json.loads((folder / name / file).read_text(encoding="utf-8"))
            for name in STUDIES
            if (folder / name / file).is_file()
        }
        for file in (STUDY_FILE, CHECKS_FILE)
    )  # type: ignore[return-value]


if __name__ == "__main__":
    main()
