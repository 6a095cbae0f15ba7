"""From candidate to serving and back: what may follow what, who is kept, who is forgotten."""

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from test_bank import factors, revision

from polyphony.adapters.bank import catalog_rows
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.catalog import Catalog
from polyphony.adapters.bank.lifecycle import FOLLOWS, Status, check_step
from polyphony.adapters.bank.revision import FORGOTTEN, adapter_id
from polyphony.adapters.bank.verification import verify
from polyphony.errors import InputError
from polyphony.simulation.cli.main import main
from polyphony.simulation.cli.printing import WIDE

BETTER, WORSE = {"nll": {"own": 1.0, "pooled": 2.0}}, {"nll": {"own": 2.0, "pooled": 2.0}}


def made(bank, training, evaluation=None, person="ada", **changes):
    kept = bank.add(replace(revision(person, training), **changes), factors(sum(map(ord, training))))
    if evaluation is not None:
        bank.set_evaluation(kept, evaluation)
    return kept


def states(bank):
    return [found.status for found in bank.revisions()]


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
def test_only_legal_steps_are_taken(before, after):
    if after in FOLLOWS[before]:
        check_step("x", before, after)
    else:
        with pytest.raises(InputError, match=f"x is {before}: it cannot become {after}, only"):
            check_step("x", before, after)


def test_a_revision_serves_once_it_beats_the_prior(bank):
    first = made(bank, "t1", BETTER)
    assert bank.serving(first.adapter_id) is None and states(bank) == ["evaluated"]
    bank.promote(first.adapter_id, 1)
    second = made(bank, "t2", BETTER, parent=1)
    bank.promote(second.adapter_id, 2)
    assert bank.serving(first.adapter_id).number == 2 and states(bank) == ["superseded", "serving"]
    assert bank.revision(first.adapter_id, 2).parent == 1


@pytest.mark.parametrize(("evaluation", "reason"), [(None, "no held-out evaluation"), (WORSE, "2.000 is not below")])
def test_what_speaks_against_it_can_only_be_overruled(bank, evaluation, reason):
    kept = made(bank, "t1", evaluation)
    with pytest.raises(InputError, match=reason):
        bank.promote(kept.adapter_id, 1)
    assert bank.serving(kept.adapter_id) is None
    bank.promote(kept.adapter_id, 1, force=True)
    (*_, last) = bank.steps(kept.adapter_id)
    assert last.after == "serving" and reason in last.forced


def test_a_rollback_brings_back_what_served_last(bank):
    for training in ("t1", "t2", "t3"):
        kept = made(bank, training, BETTER)
    identity = kept.adapter_id
    for number in (1, 3, 2):
        bank.promote(identity, number)
    assert bank.rollback(identity).number == 3
    assert states(bank) == ["superseded", "superseded", "serving"]
    assert bank.rollback(identity).number == 2, "the one that served just before, not the latest"
    only = made(bank, "t4", BETTER, person="bob")
    bank.promote(only.adapter_id, 1)
    with pytest.raises(InputError, match="no revision served before"):
        bank.rollback(only.adapter_id)
    assert bank.serving(only.adapter_id).number == 1


def test_a_collection_keeps_what_runs_and_children_need(bank):
    used, parent, child, free = (
        made(bank, "t1"), made(bank, "t2"), made(bank, "t3", parent=2), made(bank, "t4", prior_object=None)
    )  # fmt: skip
    bank.note_use("run.db", [used])
    for number in (1, 2, 4):
        bank.retire(used.adapter_id, number)
    gone = bank.collect()
    assert (gone.revisions, gone.objects) == (1, 1) and gone.bytes > 0
    assert [found.number for found in bank.revisions()] == [1, 2, 3]
    assert not bank.objects.path(free.object).exists()
    assert bank.factors(child.object) and bank.factors(parent.object)
    bank.note_use("run.db", [child])
    assert bank.collect().revisions == 1, "the run was made again with others"
    assert made(bank, "t5").number == 5, "numbers are never given twice"


def test_a_shared_prior_outlives_the_people_over_it(bank):
    prior = bank.add(
        replace(revision("", "p"), kind="prior", adapter_id=adapter_id("base", "town", "prior", "")), factors(9)
    )
    kept = made(bank, "t1", prior_object=prior.object)
    bank.retire(kept.adapter_id, 1)
    bank.collect()
    assert bank.factors(prior.object)


def raw(bank):
    """Every byte of the catalog, free pages and journal included."""
    return [path.read_bytes() for path in bank.directory.glob("catalog.sqlite*")]


def test_what_cannot_be_forgotten_is_said(bank, tmp_path):
    made(bank, "t1", BETTER)
    (tmp_path / "elsewhere").mkdir()
    bank.evaluations.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="evaluations: the files of interrupted evaluations could not be removed"):
        bank.forget("ada")
    assert not any(b"personalada" in content for content in raw(bank))


def test_forgetting_somebody_leaves_nothing_of_theirs(bank):
    ada, bob = made(bank, "t1", BETTER), made(bank, "t2", BETTER, person="bob")
    made(bank, "t3", BETTER)
    bank.note_use("a.db", [ada, bob])
    bank.note_use("b.db", [bank.revision(ada.adapter_id, 2)])
    bank.evaluations.mkdir()
    (bank.evaluations / "kept.json").write_text("personalada")
    gone = bank.forget("ada")
    assert (gone.revisions, gone.runs) == (2, ("a.db", "b.db"))
    assert not bank.objects.path(ada.object).exists() and bank.factors(bob.object)
    with closing(sqlite3.connect(bank.directory / "catalog.sqlite")) as catalog:
        assert "'ada'" not in "\n".join(catalog.iterdump())
    assert not any(b"personalada" in content for content in raw(bank)) and not bank.evaluations.exists()
    assert any(b"personalbob" in content for content in raw(bank)), "so a name would look"
    theirs = [found for found in bank.revisions() if found.person == FORGOTTEN]
    assert [(found.object, found.losses, found.evaluation, found.data_digest) for found in theirs] == [
        ("", {}, None, "")
    ] * 2
    assert bank.find("t1") is None and not verify(bank).problems
    with pytest.raises(InputError, match="no adapter of 'ada'"):
        bank.forget("ada")
    again = made(bank, "t1")
    assert (again.person, again.number) == ("ada", 3) and bank.find("t1").person == "ada"
    assert not verify(bank).problems and bank.newest(again.adapter_id) == again
    with pytest.raises(InputError, match="is retired: it cannot become serving"):
        bank.promote(again.adapter_id, 1, force=True)


def test_nothing_comes_back_of_who_was_forgotten(bank):
    """An evaluation that was under way, a reason that was noted, a name whose revisions are long gone."""
    kept = made(bank, "t1", WORSE)
    bank.promote(kept.adapter_id, 1, force=True)
    bank.forget("ada")
    with pytest.raises(InputError, match="was forgotten meanwhile"):
        bank.set_evaluation(kept, BETTER)
    assert {step.forced for step in bank.steps(kept.adapter_id)} == {None, FORGOTTEN}
    gone = made(bank, "t2", person="bob")
    bank.retire(gone.adapter_id, 1)
    bank.collect()
    assert bank.forget("bob").revisions == 0 and not any(b"personalbob" in content for content in raw(bank))


def test_a_reader_keeps_the_journal_and_is_told_of(bank):
    made(bank, "t1")
    other = Bank(bank.directory)
    with other.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM revision").scalar() == 1
        assert not bank.forget("ada").settled
        assert connection.exec_driver_sql("SELECT person FROM adapter").scalar() == "ada", "all is of one moment"
    other.close()
    made(bank, "t2")
    assert bank.forget("ada").settled


def test_a_run_cannot_lean_on_what_is_gone(bank):
    kept = made(bank, "t1")
    bank.retire(kept.adapter_id, 1)
    bank.collect()
    with pytest.raises(InputError, match="no revision 1 of adapter"):
        bank.note_use("run.db", [kept])


def test_the_same_training_of_two_populations_is_two_adapters(bank):
    one = made(bank, "t1")
    identity = adapter_id("base", "renamed", "personal", "ada")
    two = bank.add(replace(revision("ada", "t1"), population="renamed", adapter_id=identity), factors(1))
    assert two.adapter_id != one.adapter_id and bank.find("t1", one.adapter_id) == one
    assert bank.find("t1", identity) == two


def test_two_writers_lose_nothing(bank):
    """Each thread has a bank of its own, as two processes would."""

    def train(people):
        other = Bank(bank.directory)
        for person in people:
            kept = made(other, f"training of {person}", BETTER, person=person)
            other.promote(kept.adapter_id, kept.number)
        other.close()

    crowds = [[f"p{number}" for number in range(start, 30, 2)] for start in (0, 1)]
    threads = [threading.Thread(target=train, args=(people,)) for people in crowds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bank.revisions()) == 30 and set(states(bank)) == {"serving"}
    assert not verify(bank).problems


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "two serve", "orphan", "parent"])
def test_verification_finds(bank, damage):
    kept = made(bank, "t1", BETTER)
    made(bank, "t2", BETTER)
    bank.promote(kept.adapter_id, 1)
    assert verify(bank).problems == verify(bank).orphans == ()
    path, reason = bank.objects.path(kept.object), kept.object
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[-1] ^= 4
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "gone":
        path.unlink()
    elif damage == "orphan":
        path.with_name("incoming-x.safetensors").write_bytes(b"half")
    else:
        change = {"status": "serving"} if damage == "two serve" else {"parent": 7}
        reason = "2 revisions serve at once" if damage == "two serve" else "its parent, revision 7, is gone"
        with closing(Catalog(bank.directory / "catalog.sqlite")) as catalog, catalog.writing() as connection:
            catalog_rows.save(connection, replace(bank.revision(kept.adapter_id, 2), **change))
    report = verify(bank)
    if damage == "orphan":
        assert report.orphans == ("incoming-x.safetensors",) and not report.problems
        bank.collect()
        assert not verify(bank).orphans
    else:
        assert len(report.problems) == 1 and reason in report.problems[0]


def test_a_bank_of_the_first_version_is_brought_up_to_date(bank):
    made(bank, "t1", BETTER)
    made(bank, "t2")
    bank.close()
    with closing(sqlite3.connect(bank.directory / "catalog.sqlite")) as catalog:
        catalog.executescript(
            "DROP TABLE migration; DROP TABLE transition; DROP TABLE use; DROP INDEX ix_revision_object;"
            "DROP INDEX adapter_by_person; ALTER TABLE revision DROP COLUMN provenance;"
            "ALTER TABLE revision DROP COLUMN rank; ALTER TABLE revision DROP COLUMN precision;"
            "ALTER TABLE revision DROP COLUMN seal; DROP TABLE packed; DROP TABLE residency;"
            "UPDATE revision SET status = 'serving'"
        )
    old = Bank(bank.directory)
    assert states(old) == ["evaluated", "candidate"] and made(old, "t3").number == 3
    old.promote(old.revisions()[0].adapter_id, 1)
    old.close()


def test_settings_and_provenance_are_stored_in_few_bytes_and_read_as_text(bank):
    facts = {"code": {"peft": "0.21.2", "python": "3.11.7"}, "unshown": {}, "split": {"by": "date", "held_out": 0.2}}
    kept = made(bank, "t1", BETTER, provenance=facts)
    bank.close()
    with closing(sqlite3.connect(bank.directory / "catalog.sqlite")) as catalog:
        (stored,) = catalog.execute("SELECT provenance FROM revision").fetchone()
        text = json.dumps(facts, sort_keys=True)
        assert isinstance(stored, bytes) and len(stored) < len(text) / 2
        with closing(Bank(bank.directory)) as again:
            assert again.revision(kept.adapter_id, 1).provenance == facts
        catalog.execute("UPDATE revision SET provenance = ?", [text])  # as earlier versions wrote it
        catalog.commit()
    with closing(Bank(bank.directory)) as again:
        assert again.revision(kept.adapter_id, 1).provenance == facts and not verify(again).problems


def test_a_bank_of_a_newer_version_is_refused(bank):
    bank.close()
    with closing(sqlite3.connect(bank.directory / "catalog.sqlite")) as catalog:
        catalog.execute("INSERT INTO migration VALUES ('9999 from the future')")
        catalog.commit()
    with pytest.raises(InputError, match="written by a newer version .its tables have '9999 from the future'"):
        Bank(bank.directory)


@pytest.mark.parametrize("width", [None, 50])
def test_the_list_names_adapters_whole_at_any_width(bank, width, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    found = [made(bank, "t1"), made(bank, "t2", person="[b]bob")]
    main(["bank", "list", "--bank", str(bank.directory)])
    said = capsys.readouterr().out
    first_column = "".join(line.strip().split(" ")[0] for line in said.splitlines())
    assert all(each.adapter_id in first_column and each.person in said for each in found)
    assert max(map(len, said.splitlines())) <= (width or WIDE)


def test_the_commands_tell_and_do_it(bank, capsys):
    made(bank, "t1", BETTER, person="../ada\u202e")
    made(bank, "t2", WORSE, person="bob")
    place = ("--bank", str(bank.directory))

    def said(*arguments, code=0):
        try:
            main(["bank", *arguments, *place])
            found = 0
        except SystemExit as error:
            found = error.code
        out, err = capsys.readouterr()
        assert found == code, err
        return out + err

    assert "1 revisions serve" in said("promote", "--all")
    assert "is not below the prior's" in said("promote", "bob", code=2)
    assert "'bob' is retired" in said("retire", "bob", "1")
    assert "it cannot become serving" in said("promote", "bob", code=2)
    assert "no revision served before" in said("rollback", "bob", code=2)
    shown = json.loads(said("show", "../ada\u202e", "--json"))
    assert shown["status"] == "serving" and [step["after"] for step in shown["life"]] == [
        "candidate",
        "evaluated",
        "serving",
    ]
    assert "serving" in said("show", "../ada\u202e") and "serving" in said("list")
    assert "removed 1 revisions and 1 objects" in said("gc")
    assert json.loads(said("verify", "--json"))["problems"] == []
    bank.objects.path(bank.revisions()[0].object).unlink()
    assert "cannot be read" in said("verify", code=2)
    assert json.loads(said("forget", "../ada\u202e", "--json")) == {"revisions": 1, "runs": [], "settled": True}
    assert "no adapter of 'nobody'" in said("show", "nobody", code=2)
    assert "takes a handle, or --all" in said("promote", code=2)


@pytest.mark.parametrize("column", ["object", "status", "scale", "evaluation", "seal"])
def test_a_row_that_was_changed_from_outside_is_never_used(bank, column):
    kept = made(bank, "t1", BETTER)
    value = {"scale": "scale * 2", "status": "'serving'", "evaluation": "zeroblob(9)"}.get(
        column, f"substr({column}, 2) || 'x'"
    )
    with closing(sqlite3.connect(bank.directory / "catalog.sqlite")) as catalog:
        catalog.execute(f"UPDATE revision SET {column} = {value}")
        catalog.commit()
    damaged = f"revision 1 of adapter {kept.adapter_id}: its row in the catalog is damaged"
    for use in (lambda: bank.find("t1"), lambda: bank.revision(kept.adapter_id, 1), bank.revisions):
        with pytest.raises(InputError, match=damaged):
            use()
    assert damaged in "\n".join(verify(bank).problems)
