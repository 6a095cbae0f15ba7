"""Dates without an offset: the zone that a user says they are of, days on which clocks change, and what is refused."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from null_run_factory import null_settings

from polyphony.errors import InputError
from polyphony.personas.population import load_population
from polyphony.personas.readers.dates import zone_named
from polyphony.personas.readers.posts import read_posts
from polyphony.simulation.runs.settings import RunSettings, make_settings

CASES = Path(__file__).resolve().parent / "cases"
Simulate = Callable[..., tuple[int, str, list[str]]]


def table(path: Path, dates: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(
            [("author", "id", "created_at", "text"), *(("ada", n, date, f"post {n}") for n, date in enumerate(dates))]
        )
    return path


def moments(path: Path, zone: str) -> list[str]:
    acts = read_posts(path, timezone=zone).acts
    return [f"{acts[name].at:%Y-%m-%d %H:%M}" for name in sorted(acts, key=int)]


def test_a_date_without_an_offset_is_of_the_zone_and_one_with_keeps_its_own(tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.csv",
        ["2024-07-01 12:00", "2024-01-01T12:00:00", "2024-07-01T12:00:00Z", "2024-07-01T12:00+05:30", "1719835200",
         "2024-07-01 12:00:00 EDT", "15.7.2024 12:00", "7/16/2024 12:00", "Mon Jul 15 12:00:00 +0000 2024",
         "2024-07-02"],
    )  # fmt: skip
    assert moments(path, "Europe/Berlin") == [
        "2024-07-01 10:00", "2024-01-01 11:00", "2024-07-01 12:00", "2024-07-01 06:30", "2024-07-01 12:00",
        "2024-07-01 16:00", "2024-07-15 10:00", "2024-07-16 10:00", "2024-07-15 12:00", "2024-07-01 22:00",
    ]  # fmt: skip
    assert moments(path, "UTC")[:2] == ["2024-07-01 12:00", "2024-01-01 12:00"]
    assert read_posts(path) == read_posts(path, timezone="UTC"), "where nothing is said"
    assert moments(path, "-03:30")[:3] == ["2024-07-01 15:30", "2024-01-01 15:30", "2024-07-01 12:00"]


@pytest.mark.parametrize(
    ("zone", "local", "at"),
    [
        # Clocks go from 02:00 to 03:00: what they skip counts by the offset before.
        ("Europe/Berlin", "2024-03-31 01:59", "2024-03-31 00:59"),
        ("Europe/Berlin", "2024-03-31 02:30", "2024-03-31 01:30"),
        ("Europe/Berlin", "2024-03-31 03:00", "2024-03-31 01:00"),
        # Clocks go from 03:00 back to 02:00: the first of the two.
        ("Europe/Berlin", "2024-10-27 02:30", "2024-10-27 00:30"),
        ("Europe/Berlin", "2024-10-27 03:00", "2024-10-27 02:00"),
        # The other half of the year, and half an hour.
        ("Australia/Lord_Howe", "2024-04-07 01:45", "2024-04-06 14:45"),
        ("Australia/Lord_Howe", "2024-10-06 02:15", "2024-10-05 15:45"),
        # A day that an island skipped, and a zone that has no summer time any more.
        ("Pacific/Apia", "2011-12-30 12:00", "2011-12-30 22:00"),
        ("America/Sao_Paulo", "2024-12-01 12:00", "2024-12-01 15:00"),
    ],
)
def test_local_times_that_clocks_skip_or_repeat(tmp_path: Path, zone: str, local: str, at: str) -> None:
    assert moments(table(tmp_path / "a.csv", [local]), zone) == [at]


def test_jsonl_and_parquet_are_read_as_csv_is(tmp_path: Path) -> None:
    rows = [{"author": "ada", "id": str(n), "created_at": f"2024-10-27T0{n}:30:00", "text": "hello"} for n in range(4)]
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = ["2024-10-26 22:30", "2024-10-26 23:30", "2024-10-27 00:30", "2024-10-27 02:30"]
    assert moments(lines, "Europe/Berlin") == expected
    stamps = [datetime.fromisoformat(str(row["created_at"])) for row in rows]
    for unit in ("s", "ms", "us", "ns"):
        columns = {name: [row[name] for row in rows] for name in ("author", "id", "text")}
        path = tmp_path / f"{unit}.parquet"
        pq.write_table(pa.table(columns | {"created_at": pa.array(stamps, pa.timestamp(unit))}), path)
        assert moments(path, "Europe/Berlin") == expected, unit
        pq.write_table(pa.table(columns | {"created_at": pa.array(stamps, pa.timestamp(unit, "Asia/Tokyo"))}), path)
        assert moments(path, "Europe/Berlin") == moments(path, "UTC"), unit


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("Europe/Berlim", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin"), ("Berlin", "Europe/Berlin"),
     ("America/New York", "America/New_York"), ("Asia/Calcuta", "Asia/Calcutta"), ("Europa/Madrid", "Europe/Madrid")],
)  # fmt: skip
def test_a_mistyped_zone_names_the_nearest(simulate: Simulate, tmp_path: Path, wrong: str, nearest: str) -> None:
    path = table(tmp_path / "a.csv", ["2024-07-01 12:00"])
    code, out, err = simulate("personas", path, "--timezone", wrong)
    assert (code, out, len(err)) == (2, "", 1)
    assert "did you mean" in err[0] and nearest in err[0], err
    code, _, err = simulate("run", "--policy", "null", "--population", path, "--timezone", wrong)
    assert (code, len(err)) == (2, 1) and nearest in err[0]


@pytest.mark.parametrize(
    "wrong", ["+2", "+02:60", "+14:01", "-99:00", "CEST", "localtime", "Factory", "Europe", "../UTC", "/etc/passwd",
              "xyzzy", "+٠٢:00", "UTC\n", "a" * 5000]
)  # fmt: skip
def test_what_is_no_zone_is_refused_in_one_line(wrong: str) -> None:
    with pytest.raises(InputError, match="is no time zone: .*an IANA name, as Europe/Berlin") as caught:
        zone_named(wrong)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    with pytest.raises(InputError, match="--timezone"):
        RunSettings(population="town", agents=1, timesteps=1, timezone=wrong)


def test_an_export_says_its_own_zone() -> None:
    with pytest.raises(InputError, match="--timezone is for tables"):
        read_posts(CASES / "b07-author-feed.json", timezone="Europe/Berlin")


def test_every_command_that_reads_people_takes_the_zone_and_a_run_keeps_it(tmp_path: Path, simulate: Simulate) -> None:
    path = table(tmp_path / "a.csv", [f"2024-07-01 {hour:02d}:00" for hour in range(12)])
    code, out, _ = simulate("personas", path, "--json", "--timezone", "Europe/Berlin")
    assert code == 0 and json.loads(out)["span"] == ["2024-06-30T22:00:00+00:00", "2024-07-01T09:00:00+00:00"]
    run = "run", "--policy", "null", "--agents", 1, "--population", path, "--out", tmp_path / "x.db"
    assert simulate(*run, "--steps", 2, "--timezone", "Europe/Berlin")[0] == 0
    for other in ((), ("--timezone", "Europe/London")):
        code, _, err = simulate(*run, "--steps", 3, "--resume", *other)
        assert (code, len(err)) == (2, 1) and "holds another run (different: population_digest, config)" in err[0]
    assert simulate(*run, "--steps", 3, "--resume", "--timezone", "Europe/Berlin")[0] == 0
    fork = simulate("fork", tmp_path / "x.db", "--at", 1, "--population", path, "--out", tmp_path / "y.db")
    assert fork[0] == 0, "a run knows its zone"
    for command in ("train", "bank evaluate", "study", "interview"):
        assert "--timezone" in simulate(*command.split(), "--help")[1]


def test_the_zone_is_recorded_only_where_one_is_said() -> None:
    settings = null_settings(agents=4, timesteps=1)
    assert "timezone" not in json.loads(settings.recorded()), "digests of runs of earlier versions stay"
    assert json.loads(replace(settings, timezone="+02:00").recorded())["timezone"] == "+02:00"
    assert make_settings({}).timezone == "UTC"


def test_python_takes_it_too_and_hours_stay_in_utc(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", [f"2024-07-{day:02d} 20:00" for day in range(1, 15)])
    (there,), (here,) = (load_population(path, timezone=zone).personas for zone in ("UTC", "Asia/Tokyo"))
    assert max(range(24), key=there.hours.__getitem__) == 20
    assert max(range(24), key=here.hours.__getitem__) == 11
    assert "h UTC" in here.description
