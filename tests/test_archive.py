"""A whole bank as one file: what goes out comes in, and nothing else does."""

import io
import json
import random
import tarfile
from dataclasses import replace

import pytest
from test_bank import factors, revision
from test_lifecycle import BETTER

from polyphony.adapters.bank import catalog
from polyphony.adapters.bank.archive import read_archive, write_archive
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PRIOR, adapter_id, digest_of
from polyphony.adapters.bank.verification import verify
from polyphony.errors import InputError
from polyphony.simulation.cli.main import main


def populated(bank):
    prior = replace(revision("", "p"), kind=PRIOR, adapter_id=adapter_id("base", "town", PRIOR, ""))
    beneath = bank.add(prior, factors(99))
    kept = bank.add(replace(revision("ada\u00e9", "t1"), prior_object=beneath.object), factors(1))
    bank.set_evaluation(kept, BETTER)
    bank.promote(kept.adapter_id, 1)
    bank.add(replace(revision("ada\u00e9", "t2"), prior_object=beneath.object, parent=1), factors(2))
    bank.add(revision("bob", "t3"), factors(3))
    return kept


def contents(bank):
    return bank.revisions(), {made.adapter_id: bank.steps(made.adapter_id) for made in bank.revisions()}


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_what_goes_out_comes_in(banks, tmp_path, ending):
    one, two = banks
    kept = populated(one)
    one.pack()
    assert write_archive(one, tmp_path / f"a.{ending}") == 4
    moved = read_archive(two, tmp_path / f"a.{ending}")
    assert (moved.new, moved.known) == (4, 0)
    assert contents(two) == contents(one) and not verify(two).problems and not verify(two).orphans
    assert two.serving(kept.adapter_id).object == kept.object and two.foundation(kept).kind == PRIOR
    write_archive(two, tmp_path / f"b.{ending}")
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    again = read_archive(two, tmp_path / f"a.{ending}")
    assert (again.new, again.known) == (0, 4) and contents(two) == contents(one)


def test_what_is_known_here_stays_and_what_is_new_does_not_serve(banks, tmp_path):
    one, two = banks
    kept = populated(one)
    own = two.add(revision("ada\u00e9", "mine"), factors(8))
    two.promote(own.adapter_id, 1, force=True)
    write_archive(one, tmp_path / "a.tar")
    assert read_archive(two, tmp_path / "a.tar").new == 4
    assert two.serving(kept.adapter_id) == two.revision(own.adapter_id, 1) != kept
    (first, second, third) = two.revisions(person="ada\u00e9")
    assert (second.number, second.status, second.object) == (2, "evaluated", kept.object)
    assert (third.number, third.parent, third.status) == (3, 2, "candidate") and first.object == own.object
    assert not verify(two).problems


def test_who_was_forgotten_stays_forgotten(banks, tmp_path):
    one, two = banks
    populated(one)
    one.forget("bob")
    write_archive(one, tmp_path / "a.tar")
    read_archive(two, tmp_path / "a.tar")
    assert contents(two) == contents(one) and b"bob" not in (tmp_path / "a.tar").read_bytes()


def test_an_archive_is_never_written_over(banks, tmp_path):
    (tmp_path / "a.tar").write_text("mine")
    with pytest.raises(InputError, match=r"a\.tar exists already"):
        write_archive(banks[0], tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_text() == "mine"


def entry(name, content=b"", kind=tarfile.REGTYPE, link=""):
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = len(content), kind, link
    return made, content


def rewritten(source, target, change):
    """Copy an archive, its members changed."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        members = [entry(member.name, old.extractfile(member).read()) for member in old]
        for made, content in change(members):
            new.addfile(made, io.BytesIO(content) if made.isreg() else None)


OBJECT = f"objects/{'0' * 64}.safetensors"
CHANGES = {
    "a link": lambda members: [*members, entry(OBJECT, kind=tarfile.SYMTYPE, link="/etc/passwd")],
    "a hard link": lambda members: [*members, entry(OBJECT, kind=tarfile.LNKTYPE, link="bank.json")],
    "an absolute path": lambda members: [*members, entry("/tmp/x", b"x")],
    "a way out": lambda members: [*members, entry("objects/../../x", b"x")],
    "a device": lambda members: [*members, entry(OBJECT, kind=tarfile.CHRTYPE)],
    "the same twice": lambda members: [*members, members[-1]],
    "another content": lambda members: [*members, entry(OBJECT, b"x")],
    "one is missing": lambda members: members[:-1],
    "no rows": lambda members: members[1:],
    "rows that are no JSON": lambda members: [entry("bank.json", b"{"), *members[1:]],
    "rows of another kind": lambda members: [entry("bank.json", b'{"format": 2}'), *members[1:]],
    "a changed row": lambda members: [
        entry("bank.json", members[0][1].replace(b'"scale": 2.0', b'"scale": 3.0')), *members[1:]
    ],
    "nothing": lambda members: [],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_another_archive_is_refused_whole(banks, tmp_path, change):
    one, two = banks
    populated(one)
    write_archive(one, tmp_path / "a.tar")
    rewritten(tmp_path / "a.tar", tmp_path / "b.tar", CHANGES[change])
    with pytest.raises(InputError, match=r"b\.tar: ") as caught:
        read_archive(two, tmp_path / "b.tar")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert two.revisions() == [] and two.objects.files() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar", "one", "two"]


def sealed_anew(change):
    """Change the rows of an archive as somebody could who knows how they are sealed."""

    def of(members):
        told = json.loads(members[0][1])
        change(told["revisions"])
        for row in told["revisions"]:
            row["seal"] = catalog.sealed({name: row[name] for name in row if name in catalog.revision.c})
        told["digest"] = digest_of([told["revisions"], told["steps"]])
        return [entry("bank.json", json.dumps(told).encode()), *members[1:]]

    return of


def with_row(**values):
    return lambda rows: rows[0].update(values)


FORGERIES = {
    "a number for a name": with_row(object=5),
    "no number for a scale": with_row(scale=float("nan")),
    "an endless scale": with_row(scale=float("inf")),
    "the same twice": lambda rows: rows.append(dict(rows[0])),
    "a state that is none": with_row(status="famous"),
    "a probe without figures": with_row(evaluation='{"probe": {}}'),
    "no shape": with_row(config="{}"),
    "a shape that is none": with_row(config='{"shape": {"rank": -1}}'),
    "two that serve": lambda rows: [row.update(status="serving") for row in rows],
    "one that serves nothing": with_row(object="", status="serving"),
    "a way out for a name": with_row(object="../../../etc/passwd"),
    "a terminal's command for a handle": lambda rows: [
        row.update(person="\x1b[2J", adapter_id=adapter_id("base", "town", "personal", "\x1b[2J"))
        for row in rows if row["person"] == "bob"
    ],
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_no_bank_writes_is_refused_although_it_is_sealed(banks, tmp_path, forgery):
    one, two = banks
    populated(one)
    write_archive(one, tmp_path / "a.tar")
    rewritten(tmp_path / "a.tar", tmp_path / "b.tar", sealed_anew(FORGERIES[forgery]))
    with pytest.raises(InputError) as caught:
        read_archive(two, tmp_path / "b.tar")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300
    assert two.revisions() == [] and two.objects.files() == []


def test_a_prior_that_another_machine_made_comes_along(banks, tmp_path):
    """The same training, other bits: whoever was learned over one of them acts over that one."""
    one, two = banks
    kept = populated(one)
    prior = replace(revision("", "p"), kind=PRIOR, adapter_id=adapter_id("base", "town", PRIOR, ""))
    other = two.add(prior, factors(98))
    write_archive(one, tmp_path / "a.tar")
    for new in (4, 0):
        assert read_archive(two, tmp_path / "a.tar").new == new
        assert two.foundation(two.serving(kept.adapter_id)).object == one.foundation(kept).object != other.object
        assert two.find("p").object == other.object and not verify(two).problems


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_bits_that_flip_and_ends_that_are_cut_change_nothing_unseen(banks, tmp_path, ending):
    """Whatever is taken in is what was sent: a flip in the padding between members may go unnoticed."""
    one, two = banks
    populated(one)
    write_archive(one, tmp_path / f"a.{ending}")
    content = (tmp_path / f"a.{ending}").read_bytes()
    draw = random.Random(0)
    seen = 0
    for number in range(150):
        damaged = bytearray(content)
        if number % 3:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        else:
            damaged = damaged[: draw.randrange(len(damaged) // 2)]
        (tmp_path / f"b.{ending}").write_bytes(damaged)
        try:
            read_archive(two, tmp_path / f"b.{ending}")
        except InputError:
            seen += 1
            assert two.revisions() == []
        else:
            assert contents(two) == contents(one)
            two.close()
            for path in sorted(two.directory.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            two = Bank(two.directory, create=True)
    two.close()
    assert seen > 75


def test_the_commands_do_it(banks, tmp_path, capsys):
    one, _ = banks
    populated(one)
    main(["bank", "archive", str(tmp_path / "a.tar"), "--bank", str(one.directory)])
    main(["bank", "import", str(tmp_path / "a.tar"), "--bank", str(tmp_path / "three")])
    assert "4 revisions are in" in (out := capsys.readouterr().out) and "4 revisions are new in" in out
    main(["bank", "list", "--bank", str(tmp_path / "three"), "--json"])
    assert len(json.loads(capsys.readouterr().out)["revisions"]) == 4
    for source, said in (("none.tar", "no such file"), ("one", r"no adapter_config.json here")):
        with pytest.raises(SystemExit):
            main(["bank", "import", str(tmp_path / source), "--bank", str(tmp_path / "three")])
        assert said in capsys.readouterr().err
