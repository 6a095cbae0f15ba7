"""What raters answered, scored with the key of their form."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polyphony.errors import MetricsError
from polyphony.metrics.core.inference import t_interval
from polyphony.metrics.raters.form import trial_id
from polyphony.metrics.raters.trials import KINDS, SIDES, Trial, form_id
from polyphony.printable import printable, printable_path, quoted
from polyphony.spreadsheet_cells import escaped, unescaped

KEY_COLUMNS = ("form", "trial", "kind", "answer", "person")
ANSWER_COLUMNS = ("form", "rater", "trial", "answer", "seconds")
CHANCE = 0.5
MOST_BYTES = 16 << 20


class Key(NamedTuple):
    """The answers of a form: its name, and the kind and the right answer of each trial."""

    form: str
    trials: Mapping[str, tuple[str, str]]


class Answer(NamedTuple):
    """What one rater answered in one trial."""

    rater: str
    trial: str
    side: str


class RaterScore(NamedTuple):
    """Accuracy of raters in one kind of trials.

    Attributes:
        kind: See `metrics.raters.trials.KINDS`.
        accuracy: Share of right answers.
        wilson: Its 95% interval by Wilson's score, as if all answers were independent.
        over_raters: Mean over raters with Student's t interval; None with fewer than two raters.
        answers: Number of answers.
        raters: Number of raters.
        alpha: Krippendorff's alpha of the answers; None where no trial has two answers, or all are one side.
    """

    kind: str
    accuracy: float
    wilson: tuple[float, float]
    over_raters: tuple[float, float] | None
    answers: int
    raters: int
    alpha: float | None

    @property
    def verdict(self) -> str:
        """What Wilson's interval and, with several raters, also the one over raters say of the accuracy.

        A few raters may be equally often right by chance. The interval over them is then narrow, whatever their number
        of answers.
        """
        intervals = [self.wilson] if self.over_raters is None else [self.wilson, self.over_raters]
        if all(low > CHANCE for low, _ in intervals):
            return "above chance"
        return "below chance" if all(high < CHANCE for _, high in intervals) else "not told from chance"


def key_text(trials: Sequence[Trial]) -> str:
    """The key of a form as CSV; handles that a spreadsheet would run as a formula are escaped."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(KEY_COLUMNS)
    for number, trial in enumerate(trials, 1):
        writer.writerow(map(escaped, (form_id(trials), trial_id(number), trial.kind, trial.answer, trial.person)))
    return stream.getvalue()


def read_key(path: Path) -> Key:
    """Read a key.

    Raises:
        MetricsError: It cannot be read or is none.
    """
    rows = _rows(path, KEY_COLUMNS, "give the .key.csv that was written with the form")
    forms, trials = {row["form"] for _, row in rows}, dict[str, tuple[str, str]]()
    for line, row in rows:
        if row["kind"] not in KINDS or row["answer"] not in SIDES:
            raise MetricsError(f"{printable_path(path)}, row {line}: is no row of a key; give the one of the form")
        if row["trial"] in trials:
            raise MetricsError(
                f"{printable_path(path)}, row {line}: trial {quoted(row['trial'])} stands there twice; "
                "give the key as it was written"
            )
        trials[row["trial"]] = row["kind"], row["answer"]
    if len(forms) != 1:
        raise MetricsError(f"{printable_path(path)}: holds {len(forms)} forms; give the key of one form")
    return Key(forms.pop(), trials)


def read_answers(paths: Iterable[Path], key: Key) -> list[Answer]:
    """Read files of answers.

    Raises:
        MetricsError: One cannot be read, is of another form, or answers a trial twice.
    """
    answers: dict[tuple[str, str], Answer] = {}
    for path in paths:
        for line, row in _rows(path, ANSWER_COLUMNS, "give files that raters downloaded from the form"):
            where, rater = f"{printable_path(path)}, row {line}", printable(row["rater"])
            if row["form"] != key.form:
                raise MetricsError(
                    f"{where}: is of the form {quoted(row['form'])}, the key of {key.form}; give its key"
                )
            if row["trial"] not in key.trials or row["answer"] not in SIDES:
                raise MetricsError(
                    f"{where}: {quoted(row['trial'])} {quoted(row['answer'])} is no answer to a trial of the form; "
                    "give the file as it was downloaded"
                )
            if (rater, row["trial"]) in answers:
                raise MetricsError(
                    f"{where}: the rater {quoted(rater)} has answered {row['trial']} before; give each rater's file "
                    "once, and raters different names"
                )
            answers[rater, row["trial"]] = Answer(rater, row["trial"], row["answer"])
    if not answers:
        raise MetricsError("the files hold no answers; give files that raters downloaded from the form")
    return list(answers.values())


def score_raters(answers: Sequence[Answer], key: Key) -> list[RaterScore]:
    """Score each kind of trials that has answers."""
    of_kind = {kind: [answer for answer in answers if key.trials[answer.trial][0] == kind] for kind in KINDS}
    return [_score(kind, answers_of_kind, key) for kind, answers_of_kind in of_kind.items() if answers_of_kind]


def _score(kind: str, answers: Sequence[Answer], key: Key) -> RaterScore:
    from scipy.stats import binomtest

    right: defaultdict[str, list[bool]] = defaultdict(list)
    sides: defaultdict[str, list[str]] = defaultdict(list)
    for rater, trial, side in answers:
        right[rater].append(side == key.trials[trial][1])
        sides[trial].append(side)
    hits = sum(map(sum, right.values()))
    wilson = binomtest(hits, len(answers)).proportion_ci(method="wilson")
    return RaterScore(
        kind, hits / len(answers), (float(wilson.low), float(wilson.high)),
        t_interval([float(np.mean(hit)) for hit in right.values()]), len(answers), len(right), alpha(sides.values()),
    )  # fmt: skip


def alpha(units: Iterable[Sequence[str]]) -> float | None:
    """Krippendorff's alpha for nominal answers (Krippendorff 2004, "Content Analysis", ch. 11): 1 is full agreement.

    Args:
        units: The answers to each trial, one of each rater who answered it; trials with one answer do not count.

    Returns:
        1 - observed / expected disagreement, 0 where raters agree as by chance; None where it is not defined.
    """
    pairable = [answers for answers in units if len(answers) > 1]
    counts = np.array([[answers.count(side) for side in SIDES] for answers in pairable], dtype=float).reshape(-1, 2)
    sizes, totals = counts.sum(1), counts.sum(0)
    whole = totals.sum()
    expected = (whole**2 - (totals**2).sum()) / (whole * (whole - 1)) if whole > 1 else 0.0
    if expected == 0:
        return None
    observed = float((((sizes**2) - (counts**2).sum(1)) / (sizes - 1)).sum() / whole)
    return 1 - observed / float(expected)


def _rows(path: Path, columns: Sequence[str], remedy: str) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their numbers in it, the escapes of spreadsheets taken away."""
    name = printable_path(path)
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise MetricsError(f"{name}: is no file of answers or of a key; {remedy}")
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            raise MetricsError(f"{name}: has not the columns {', '.join(columns)}; {remedy}")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise MetricsError(f"{name}, row {reader.line_num}: has not {len(columns)} cells; {remedy}")
            rows.append((reader.line_num, {column: unescaped(cell) for column, cell in row.items()}))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MetricsError(f"{name}: cannot be read as CSV ({error}); {remedy}") from error
    return rows
