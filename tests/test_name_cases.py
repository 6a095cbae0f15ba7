"""Every legal file name means itself, and read-only places can be read."""

import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from null_run_factory import null_runner, null_settings

from polyphony.adapters.bank.bank import Bank
from polyphony.database_url import is_url
from polyphony.metrics.runfile.database import file_of, source_name
from polyphony.simulation.runs.store import run_target
from polyphony.sqlite_file import ReadOnlyDatabase

CASES = Path(__file__).parent / "cases"
NAMES = (
    b"quest?ion.db", b"a#b.db", b"my%20run.db", b":memory:", b"a:b.db", b"file:x.db", b"http:x.db", b"q'uo\"te.db",
    b"new\nline.db", b"-dash.db", b"odd\xff.db", b"a\\b.db", b"[1]*.db", b"y" * 244 + b".db",
)  # fmt: skip
# The longest that leaves room for what SQLite keeps beside a file; the others are tried with the slow tests.
SOON = (NAMES[0], NAMES[3], NAMES[4], NAMES[8], NAMES[10], NAMES[-1])
RUN = ("run", "--policy", "null", "--minutes-per-step", "120")


def lines(simulate, *arguments: object) -> str:
    """What a command prints, which must end well."""
    code, out, err = simulate(*arguments)
    assert code == 0, err
    return out


@pytest.mark.parametrize(
    "raw",
    [pytest.param(name, marks=() if name in SOON else pytest.mark.slow, id=ascii(name[:12])) for name in NAMES],
)
def test_runs_and_populations_of_any_name(tmp_path: Path, raw: bytes, simulate, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("polyphony.simulation.cli.runs.print_measurements", lambda *_: None)
    name = os.fsdecode(raw)
    posts = os.fsdecode(raw.removesuffix(b".db")) + ".jsonl"
    shutil.copy(CASES / "s00-plain.jsonl", posts)
    lines(simulate, "personas", "--json", "--", posts)
    common = (*RUN, "--agents", "1", f"--population={posts}", f"--out={name}")
    lines(simulate, *common, "--steps", "1")
    lines(simulate, *common, "--steps", "2", "--resume")
    digest = lines(simulate, "digest", "--", name)
    lines(simulate, "fork", "--at", "1", "--out=fork.db", f"--population={posts}", "--", name)
    assert len(digest.strip()) == 64
    assert set(os.listdir()) == {name, posts, "fork.db"}


@pytest.mark.parametrize("raw", (NAMES[4], NAMES[10]), ids=["address", "not UTF-8"])
def test_data_sets_of_any_name(tmp_path: Path, raw: bytes, simulate, monkeypatch, exported: Path) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(raw)
    shutil.copy(exported, name + ".db")
    lines(simulate, "export", f"--out={name}", "--no-exposures", "--", name + ".db")
    lines(simulate, "export", f"--check={name}")
    assert set(os.listdir()) == {name, name + ".db"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "run.db"
    null_runner(4).run(null_settings(agents=4, timesteps=1), path, resume=False)
    return path


@pytest.mark.parametrize("raw", NAMES, ids=[ascii(name[:12]) for name in NAMES])
def test_banks_of_any_name(tmp_path: Path, raw: bytes, simulate, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(Bank(os.fsdecode(raw), create=True)):
        pass
    for command in ("list", "stats", "verify"):
        lines(simulate, "bank", command, f"--bank={os.fsdecode(raw)}")
    assert os.listdir(b".") == [raw] and b"catalog.sqlite" in os.listdir(raw)


def test_a_parquet_file_whose_name_looks_like_an_address_is_a_file(tmp_path: Path, simulate, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "posts-2024-05-01T12:30:00.parquet"
    shutil.copy(CASES / "names" / name, name)
    assert '"people"' in lines(simulate, "personas", "--json", name)


def test_a_name_that_is_too_long_for_the_files_beside_it_is_one_line(tmp_path: Path, simulate, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = simulate(*RUN, "--agents", "2", "--steps", "1", f"--out={'x' * 252}.db")
    assert code == 2 and len(err) >= 1 and "too long" in err[-1]
    assert os.listdir() == []


def test_only_a_scheme_makes_an_address() -> None:
    assert not is_url("a:b") and not is_url("./x://y") and not is_url("runs/a://b.db") and is_url("postgresql://h/d")
    assert run_target("sqlite:////tmp/a?b.db") == Path("/tmp/a?b.db") == file_of("sqlite:////tmp/a?b.db")
    assert source_name(Path("x:/y@z.db")) == "x:/y@z.db"


@pytest.fixture
def read_only(tmp_path: Path):
    """A file system that holds what a test puts into it, and cannot be written."""
    place = tmp_path / "mounted"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can only be mounted by root")

    def fill(*sources: Path) -> Path:
        for source in sources:
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place / source.name)
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        return place

    yield fill
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("has_log", [False, True])
def test_a_run_in_a_read_only_place_is_read(tmp_path: Path, read_only, simulate, monkeypatch, has_log: bool) -> None:
    monkeypatch.setattr("polyphony.simulation.cli.runs.print_measurements", lambda *_: None)
    path = tmp_path / "run.db"
    lines(simulate, *RUN, "--agents", "4", "--steps", "2", f"--out={path}")
    digest = lines(simulate, "digest", path)
    beside = []
    if has_log:  # as a writer that was killed leaves it
        database = ReadOnlyDatabase(path)
        database.close()
        from polyphony.simulation.runs.store import RunStore

        store = RunStore.open(path)
        store.set_versions('{"killed": true}')
        beside = [Path(shutil.copy(f"{path}-wal", tmp_path / "copy"))]
        store.close()
        beside = [beside[0].rename(tmp_path / "run.db-wal")]
    place = read_only(path, *beside)
    assert lines(simulate, "digest", place / "run.db") == digest
    lines(simulate, "fork", "--at", "1", f"--out={tmp_path / 'fork.db'}", place / "run.db")
    code, _, err = simulate(*RUN, "--agents", "4", "--steps", "3", f"--out={place / 'run.db'}", "--resume")
    assert code == 2 and len(err) == 1 and "run.db" in err[0]


def test_a_bank_in_a_read_only_place_is_read(tmp_path: Path, read_only, simulate) -> None:
    with closing(Bank(tmp_path / "bank", create=True)):
        pass
    place = read_only(tmp_path / "bank")
    for command in ("list", "stats", "verify"):
        lines(simulate, "bank", command, f"--bank={place / 'bank'}")
