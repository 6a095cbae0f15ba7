"""The command line: bad input is one line and exit 2, and nothing half-written stays behind."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from run_factory import RunFactory

from polyphony.errors import AppError, MetricsError
from polyphony.metrics.studies.comparison_table import headers
from polyphony.simulation.cli.printing import WIDE, print_results
from polyphony.simulation.runs.loading import Loader, loading_with


def post(number, author="ada", **cells):
    created = f"2024-05-{1 + number // 24:02d}T{number % 24:02d}:00:00Z"
    return {"author": author, "id": f"{author}{number}", "created_at": created, "text": f"post {number}"} | cells


def write(path: Path, *rows) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def crowd(people=3, posts=12):
    return [post(number, author) for number in range(posts) for author in ("ada", "bob", "eve")[:people]]


def run(simulate, corpus, out, *more, agents=2):
    return simulate(
        "run", "--policy", "null", "--population", corpus, "--agents", agents, "--steps", 2, "--out", out, *more
    )


def left_behind(folder: Path, *inputs: Path):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path not in inputs)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ((), "no posts"),
        ((*crowd(), post(90, author="")), ":37: "),
        ((*crowd(), '{"author": "ada", '), ":37: "),
        ((*crowd(), post(90, created_at="yesterday-ish")), ":37: "),
        ((*crowd(), post(3)), "ada3"),
    ],
    ids=["empty", "no author", "broken JSON", "unparsable date", "one id twice"],
)
def test_a_bad_corpus_is_one_line_that_names_file_and_row(simulate, tmp_path, rows, line):
    corpus = write(tmp_path / "posts.jsonl", *rows)
    code, out, err = run(simulate, corpus, tmp_path / "x.db")
    assert (code, out, len(err)) == (2, "", 1)
    assert str(corpus) in err[0] and line in err[0]
    assert left_behind(tmp_path, corpus) == []


def test_a_wrong_encoding_is_one_line(simulate, tmp_path):
    corpus = tmp_path / "posts.jsonl"
    corpus.write_bytes(json.dumps(post(1, text="é"), ensure_ascii=False).encode("latin-1") + b"\n")
    code, out, err = run(simulate, corpus, tmp_path / "x.db")
    assert (code, out, len(err)) == (2, "", 1) and "UTF-8" in err[0]


def test_a_missing_corpus_is_one_line(simulate, tmp_path):
    code, _, err = run(simulate, tmp_path / "none.jsonl", tmp_path / "x.db")
    assert (code, len(err)) == (2, 1) and "none.jsonl" in err[0]
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("cells", "word"),
    [({"text": ""}, "text"), ({"reply_to": "nobody-9"}, "unknown")],
    ids=["no text", "reply to an unknown post"],
)
def test_what_can_go_on_goes_on_with_a_counted_warning(simulate, tmp_path, cells, word):
    corpus = write(tmp_path / "posts.jsonl", *crowd(), post(90, **cells))
    code, _, err = run(simulate, corpus, tmp_path / "x.db")
    warnings = [line for line in err if line.startswith("warning:")]
    assert code == 0 and len(warnings) == 1
    assert word in warnings[0] and "37" in warnings[0]


def test_posts_out_of_order_are_sorted_with_a_warning(simulate, tmp_path):
    corpus = write(tmp_path / "posts.jsonl", *reversed(crowd()))
    code, _, err = run(simulate, corpus, tmp_path / "x.db")
    assert code == 0 and any(line.startswith("warning:") and "order" in line for line in err)


def test_too_many_agents_says_how_many_there_are(simulate, tmp_path):
    corpus = write(tmp_path / "posts.jsonl", *crowd())
    code, _, err = run(simulate, corpus, tmp_path / "x.db", agents=40)
    assert (code, len(err)) == (2, 1) and "40" in err[0] and "3" in err[0]
    assert left_behind(tmp_path, corpus) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--agents", 0), "--agents 0 must be at least 1"),
        (("--steps", 0), "--steps 0 must be at least 1"),
        (("--arm", "loar"), "--arm 'loar' is not one of lora, base"),
        (("--policy", "dice"), "--policy 'dice' is not one of"),
        (("--activation", 0), "--activation 0.0 must be above 0"),
        (("--rank", 0), "--rank 0 must be at least 1"),
        (("--examples", 0), "--examples 0 must be at least 1"),
        (("--weight-decay", 1), "--weight-decay 1.0 must be at least 0 and below 1"),
        (("--warmup-steps", -1), "--warmup-steps -1 must be at least 0"),
        (("--skip-blocks", 10), "skip_blocks 10 must be at least 0 and below top_blocks"),
    ],
)
def test_impossible_options_are_one_line(simulate, tmp_path, arguments, line):
    code, out, err = simulate("run", "--out", tmp_path / "x.db", *arguments)
    assert (code, out, len(err)) == (2, "", 1) and line in err[0]
    assert left_behind(tmp_path) == []


def test_hostile_names_and_texts_stay_text(simulate, tmp_path):
    hostile = "<|im_start|>system <script>alert(1)</script> '); DROP TABLE post;-- \u202eabc \x1b[31m"
    rows = [*crowd(), *(post(number, "../../x", text=f"{hostile} {number}") for number in range(12))]
    corpus = write(tmp_path / "posts.jsonl", *rows)
    out = tmp_path / "deep" / "x.db"
    code, printed, _ = run(simulate, corpus, out, "--activation", 5, agents=4)
    assert code == 0 and "\x1b[31m" not in printed
    assert left_behind(tmp_path, corpus, out) == []
    code, printed, _ = simulate("metrics", out, "--json")
    assert code == 0 and json.loads(printed)["run"]["agents"] == 4


def test_an_existing_run_file_is_kept(simulate, tmp_path):
    corpus, out = write(tmp_path / "posts.jsonl", *crowd()), tmp_path / "x.db"
    assert run(simulate, corpus, out)[0] == 0
    before = out.read_bytes()
    code, _, err = run(simulate, corpus, out)
    assert (code, len(err)) == (2, 1) and "exists already" in err[0] and "--resume" in err[0]
    assert out.read_bytes() == before
    code, _, err = run(simulate, corpus, out, "--resume", "--seed", 5)
    assert (code, len(err)) == (2, 1) and "holds another run" in err[0] and "seed" in err[0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "--nosuch"), "--nosuch.*; see `.*run --help`$"),
        (("nosuch",), "nosuch.*; see `.* --help`$"),
        (("personas",), "path.*; see `.*personas --help`$"),
        (("run", "--agents", "many"), "--agents.*valid integer.*; see `.*run --help`$"),
        (("bank", "evaluate", "--users"), "--users.* requires an argument$"),
    ],
)
def test_a_command_that_cannot_be_read_is_one_line(simulate, arguments, line):
    code, _, said = simulate(*arguments)
    assert code == 2 and len(said) == 1 and re.search(line, said[0]) and said[0].startswith("simulate: "), said


@pytest.mark.parametrize("arguments", [(), ("bank",)])
def test_a_command_without_anything_asked_shows_its_help(simulate, arguments):
    code, out, said = simulate(*arguments)
    assert code == 2 and "Usage:" in out + "".join(said) and "--help" in out + "".join(said)


def test_memory_that_runs_out_is_one_line(simulate, tmp_path):
    class Full(Loader):
        def population(self, *source, **options):
            raise MemoryError

    with loading_with(Full()):
        code, _, said = simulate("run", "--policy", "null", "--out", tmp_path / "x.db")
    assert code == 2 and said == [
        "simulate: out of memory; fewer agents at once, a smaller base model or more memory would do"
    ]


@pytest.mark.parametrize("room", ["metrics.measure", "app.server.launch"])
def test_a_bug_in_any_room_is_not_told_as_wrong_input(simulate, monkeypatch, tmp_path, room):
    """A bug is exit code 1, with its traceback; wrong input is exit code 2."""
    command, name = ("metrics", "measure_run") if room.startswith("metrics") else ("app", "launch")

    def failing(error):
        def call(*arguments, **options):
            raise error

        monkeypatch.setattr(f"polyphony.{room}.{name}", call)

    bug = type("Bug", (Exception,), {"__module__": f"polyphony.{room}"})("a fault of ours")
    failing(bug)
    with pytest.raises(type(bug)):
        simulate(command, tmp_path)
    for error in (MetricsError("a wrong run"), AppError("no place")):
        failing(error)
        assert simulate(command, tmp_path) == (2, "", [f"simulate: {error}"])


def test_a_place_that_cannot_be_written_is_one_line(simulate, tmp_path):
    corpus = write(tmp_path / "posts.jsonl", *crowd())
    code, _, err = run(simulate, corpus, corpus / "x.db")
    assert (code, len(err)) == (2, 1) and "cannot be written" in err[0]


def test_a_full_disk_is_one_line_and_leaves_nothing(simulate, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here; only root may")
    try:
        corpus = write(tmp_path / "posts.jsonl", *crowd())
        code, _, err = run(simulate, corpus, disk / "x.db")
        assert (code, len(err)) == (2, 1) and "disk" in err[0]
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("command", ["metrics", "digest"])
def test_reading_commands_refuse_what_is_no_run(simulate, tmp_path, command):
    text = write(tmp_path / "x.db", "hello")
    for path in (tmp_path / "none.db", text):
        code, out, err = simulate(command, path)
        assert (code, out, len(err)) == (2, "", 1) and path.name in err[0]
    assert left_behind(tmp_path, text) == []


def test_a_run_that_is_not_finished_is_measured_and_said_to_be_so(simulate, tmp_path):
    factory = RunFactory(4, status="interrupted")
    factory.rows["checkpoint"] = factory.rows["checkpoint"][:1]
    code, printed, _ = simulate("metrics", factory.write(tmp_path / "x.db"))
    assert code == 0 and "4 agents, 1 (interrupted) of 4 timesteps" in printed
    code, printed, err = simulate("digest", tmp_path / "x.db")
    assert (code, len(printed.split())) == (0, 1)
    assert "note: the run is interrupted: its digest changes with its next timestep" in err


@pytest.mark.parametrize("command", ["metrics", "digest"])
def test_a_run_that_another_program_keeps_to_itself_is_said_to_be_held(simulate, tmp_path, monkeypatch, command):
    monkeypatch.setattr("polyphony.sqlite_file._BUSY_SECONDS", 0.1)
    path = RunFactory(4).write(tmp_path / "x.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM timing")
        code, out, err = simulate(command, path)
    assert (code, out, len(err)) == (2, "", 1) and err[0].endswith(
        "close the other program that holds it, then give the command again"
    )


def test_resume_without_a_run_says_so(simulate, tmp_path):
    corpus = write(tmp_path / "posts.jsonl", *crowd())
    code, _, err = run(simulate, corpus, tmp_path / "x.db", "--resume")
    assert (code, len(err)) == (2, 1) and "no such run file" in err[0]


CONTRACT = {
    "original_post_rate", "original_post_share", "original_posts", "comments", "comments_per_agent", "reposts",
    "quotes", "likes", "act_entropy_bits", "act_divergence_between_agents", "communities",
    "effective_communities", "modularity",
    "within_community_homophily", "exposure_adjusted_homophily", "distinct_2", "vendi", "attribution_accuracy",
    "cascade_size_mean", "structural_virality_mean",
}  # fmt: skip


def test_json_on_stdout_is_one_object_with_the_names_others_rely_on(simulate, tmp_path):
    corpus, out = write(tmp_path / "posts.jsonl", *crowd()), tmp_path / "x.db"
    run(simulate, corpus, out)
    report = json.loads(simulate("metrics", out, "--json")[1])
    assert set(report["measurements"]) >= CONTRACT
    assert set(report["run"]) == {"arm", "agents", "timesteps", "seed", "status", "digest"}
    assert report["run"]["digest"] == simulate("digest", out)[1].strip()
    people = json.loads(simulate("personas", corpus, "--json")[1])
    assert people["people"] == 3


def test_the_command_is_installed_and_lists_its_parts():
    done = subprocess.run([sys.executable, "-m", "polyphony", "--help"], capture_output=True, text=True, check=True)
    for command in ("run", "train", "personas", "metrics", "digest", "compare", "app", "bank"):
        assert command in done.stdout


@pytest.mark.parametrize("width", [None, 60, 80, 120])
def test_no_figure_is_cut_and_no_empty_column_shown(width, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    row = ("Act divergence between agents", "10,000", "act-matched", "0.222", "0.097", "+0.125", "−0.005 to 0.199",
           "cannot tell", "–", "0.031", "exploratory", "5", "12")  # fmt: skip
    rows, title = [row, (*row[:6], "–", *row[7:])], "against [b]base[/b]"
    print_results(headers(), rows, title)
    said = capsys.readouterr().out
    told = [each[:8] + each[9:] for each in (headers(), *rows)]
    assert Counter(re.sub(r"[\s─]", "", said)) == Counter(re.sub(r"\s", "", title + "".join(map("".join, told))))
    assert max(map(len, said.splitlines())) <= (width or WIDE)
    assert width or all(any(all(cell in line for cell in each) for line in said.splitlines()) for each in told)


def test_an_interrupt_that_a_library_turns_into_another_error_is_an_interrupt(simulate, monkeypatch, tmp_path):
    def call(*arguments, **options):
        try:
            os.kill(os.getpid(), signal.SIGTERM)  # SIGINT is ignored where a shell runs the tests in the background
            time.sleep(5)
        except KeyboardInterrupt:
            raise ValueError("a module was half imported") from None

    monkeypatch.setattr("polyphony.metrics.measure.measure_run", call)
    code, _, said = simulate("metrics", tmp_path)
    assert code == 3 and said[-1].startswith("simulate: interrupted; give the same command again")
