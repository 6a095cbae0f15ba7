"""Adapters from PEFT and to PEFT: the same logits on both sides, and nothing that could do harm."""

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace

import pytest
import torch
from adapter_factory import random_factors
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_bank import revision

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.interchange import card_of, check_name, export_directory, foreign_revision, read_directory
from polyphony.adapters.bank.peft_layout import merge
from polyphony.adapters.bank.revision import PERSONAL, PRIOR, adapter_id
from polyphony.adapters.bank.stacking import complete, covering_shape, install
from polyphony.adapters.engine.served import exports
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import Route
from polyphony.errors import InputError
from polyphony.simulation.cli.main import main

SHAPE = LoraShape(rank=4, alpha=8, top_blocks=3)
TARGETS = ["q_proj", "v_proj"]


def logits(base, tokens):
    with torch.no_grad():
        return base.model(tokens).logits


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(5, 40_000, (1, 20), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def trained(base, tokens, tmp_path_factory):
    """An adapter that plain PEFT trained on this base, its ranks and scales differing, and its logits."""
    folder = tmp_path_factory.mktemp("peft") / "hers"
    config = LoraConfig(
        r=3, lora_alpha=6, target_modules=TARGETS, task_type="CAUSAL_LM", rank_pattern={"29.self_attn.q_proj": 5},
        alpha_pattern={"28.self_attn.v_proj": 9}, base_model_name_or_path="HuggingFaceTB/SmolLM2-135M-Instruct",
    )  # fmt: skip
    torch.manual_seed(0)
    peft = get_peft_model(base.model, config)
    optimiser = torch.optim.SGD([p for p in peft.parameters() if p.requires_grad], lr=3.0)
    for _ in range(3):
        peft(tokens, labels=tokens).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    peft.save_pretrained(str(folder))
    with torch.no_grad():
        said = peft(tokens).logits
    peft.unload()
    base.model.requires_grad_(False)
    return folder, said


def imported(base, bank, folder, person="ada"):
    foreign = read_directory(folder, base)
    return bank.add(foreign_revision(base, "town", person, foreign, folder.name), foreign.factors)


def ours(base, bank, person="bob", **facts):
    """An adapter of our own over a prior of its own."""
    with AdaptedModel(base, SHAPE) as adapted:
        own, prior = random_factors(adapted, 5), random_factors(adapted, 6, rank=8)
    config = {"shape": asdict(SHAPE)}
    beneath = bank.add(
        replace(revision("", "p"), kind=PRIOR, adapter_id=adapter_id(base.hash, "town", PRIOR, ""),
                base_hash=base.hash, config=config), prior,
    )  # fmt: skip
    return bank.add(
        replace(revision(person, "o"), adapter_id=adapter_id(base.hash, "town", PERSONAL, person),
                base_hash=base.hash, config=config, prior_object=beneath.object, **facts), own,
    )  # fmt: skip


def exported(bank, made, folder):
    beneath = bank.foundation(made)
    parts = [(bank.factors(made.object), made.scale), (bank.factors(beneath.object), beneath.scale)]
    export_directory(folder, merge(parts), base_name="smollm2", card=card_of(made))
    return folder


def under_peft(base, folder, tokens):
    peft = PeftModel.from_pretrained(base.model, folder)
    with torch.no_grad():
        said = peft(tokens).logits
    peft.unload()
    return said


def test_what_peft_trained_serves_beside_ours(base, bank, tokens, trained, tmp_path):
    """One batch of an adapter over a prior, one over none, and one that went out and came back."""
    folder, said = trained
    own, hers = ours(base, bank), imported(base, bank, folder)
    out = exported(bank, own, tmp_path / "out")
    back = imported(base, bank, out, "bob again")
    people = [own, hers, back]
    plain = logits(base, tokens)
    with AdaptedModel(base, covering_shape(bank, people)) as adapted:
        install(adapted, bank, people)
        with adapted.routed(Route(torch.arange(3))):
            mixed = logits(base, tokens.expand(3, -1))
    assert (said[0] - plain[0]).abs().max() > 0.1, "the adapter must matter for this to prove anything"
    assert (mixed[1] - said[0]).abs().max() <= 1e-3
    alone = under_peft(base, out, tokens)
    assert (mixed[0] - alone[0]).abs().max() <= 1e-3 and (mixed[2] - alone[0]).abs().max() <= 1e-3
    assert hers.rank == 5 and hers.prior_object is None and bank.serving(hers.adapter_id) is None
    assert imported(base, bank, folder) == hers, "the same adapter is kept once"


def test_an_export_is_what_vllm_loads(base, bank, tmp_path):
    """The conditions of vllm/lora/peft_helper.py and lora_model.py, which cannot run here."""
    out = exported(bank, ours(base, bank), tmp_path / "out")
    config = json.loads((out / "adapter_config.json").read_text())
    assert isinstance(config["r"], int) and config["lora_alpha"] / config["r"] == 1
    assert config["bias"] == "none" and not config["modules_to_save"] and not config["use_dora"]
    with safe_open(out / "adapter_model.safetensors", framework="pt") as opened:
        names = list(opened.keys())
        shapes = {name: opened.get_slice(name).get_shape() for name in names}
    for name in names:
        module, side, weight = name.rsplit(".", 2)
        assert module.startswith("base_model.model.model.layers.") and weight == "weight"
        assert module.rsplit(".", 1)[1] in {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
        assert shapes[name][0 if side == "lora_A" else 1] == config["r"]
    assert len(names) == 2 * len(config["target_modules"])


def test_a_model_card_tells_everything_and_quotes_nothing_dangerous(base, bank, tmp_path):
    made = ours(base, bank, "<script>alert(1)</script>```\n# hello")
    text = (exported(bank, made, tmp_path / "out") / "README.md").read_text()
    assert "library_name: peft" in text and base.hash in text and made.adapter_id in text
    assert "<script" not in text and text.count("```") == 4 and "\n# hello" not in text
    facts = json.loads(text.split("```json\n")[1].split("\n```")[0])
    assert facts["person"] == made.person and facts["revision"] == 1


def test_a_full_disk_leaves_no_half_directory(base, bank, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    made = ours(base, bank)
    monkeypatch.setattr("polyphony.durable.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        exported(bank, made, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


def config_of(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def weights_of(folder, change):
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


def only_pickled(folder):
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def renamed(name):
    def change(tensors):
        ending = ".lora_A.weight", ".lora_B.weight"
        a, b = (next(value for key, value in tensors.items() if key.endswith(side)) for side in ending)
        return {f"base_model.model.{name}{ending[0]}": a, f"base_model.model.{name}{ending[1]}": b}

    return change


def of_another_type(name):
    """A safetensors file with numbers of a type that torch does not have."""
    header = json.dumps({name: {"dtype": "F8_E8M0", "shape": [1, 4], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\x00" * 4


DAMAGE = {
    "can run code": only_pickled,
    "no adapter_config.json here": lambda folder: (folder / "adapter_config.json").unlink(),
    "cannot be read: No such file": lambda folder: (folder / "adapter_model.safetensors").unlink(),
    "cannot be read as JSON": lambda folder: (folder / "adapter_config.json").write_text("{"),
    "must be one JSON object": lambda folder: (folder / "adapter_config.json").write_text("[" + " " * (1 << 20) + "]"),
    "peft_type 'IA3' is not LORA": lambda folder: config_of(folder, peft_type="IA3"),
    "'use_dora' True does more": lambda folder: config_of(folder, use_dora=True),
    "'bias' 'all' does more": lambda folder: config_of(folder, bias="all"),
    r"'modules_to_save' \['lm_head'\] does more": lambda folder: config_of(folder, modules_to_save=["lm_head"]),
    r"'a\\x1b\[2J' 7 does more": lambda folder: config_of(folder, **{"a\x1b[2J": 7}),
    "init_lora_weights 'pissa_niter_4' changes the base": lambda folder: config_of(
        folder, init_lora_weights="pissa_niter_4"
    ),
    "rank_pattern must give a number": lambda folder: config_of(folder, rank_pattern={"(a+)+": None}),
    "cannot match its patterns": lambda folder: config_of(folder, rank_pattern={"(a+": 3}),
    "alpha_pattern must give a number": lambda folder: config_of(folder, alpha_pattern=["q_proj"]),
    "alpha_pattern must give": lambda folder: config_of(folder, alpha_pattern={"q_proj": "x"}),
    "lora_alpha 1000.* must be a number": lambda folder: config_of(folder, lora_alpha=10**400),
    "rank r 0 must be a whole": lambda folder: config_of(folder, r=0),
    "rank r True must be": lambda folder: config_of(folder, r=True),
    "rank r None must be": lambda folder: config_of(folder, r=None),
    "lora_alpha 'x' must be a number": lambda folder: config_of(folder, lora_alpha="x"),
    "has rank 3, adapter_config.json says 8": lambda folder: config_of(folder, r=8),
    "has rank 0": lambda folder: weights_of(
        folder, lambda tensors: {n: t[:0] if "lora_A" in n else t[:, :0] for n, t in tensors.items()}
    ),
    "not finite": lambda folder: weights_of(folder, lambda tensors: {n: t * torch.nan for n, t in tensors.items()}),
    "do not fit": lambda folder: weights_of(
        folder, lambda tensors: {n: t if "lora_A" in n else t[:-1] for n, t in tensors.items()}
    ),
    "changes lm_head, which is not": lambda folder: weights_of(folder, renamed("lm_head")),
    r"changes \.\./\.\./x, which is not": lambda folder: weights_of(folder, renamed("../../x")),
    "is no layer's name": lambda folder: weights_of(folder, renamed("a" * 10_000)),
    r"'a\\x00b' is no layer's name": lambda folder: weights_of(folder, renamed("a\x00b")),
    "holds no factors": lambda folder: weights_of(folder, lambda _: {}),
    "is no LoRA factor": lambda folder: weights_of(folder, lambda t: {**t, "base_model.model.x": torch.ones(2)}),
    "has no matching lora_B": lambda folder: weights_of(
        folder, lambda tensors: {n: t for n, t in tensors.items() if "lora_A" in n}
    ),
    r"has 70000 scales|scales of its lora_A have shape": lambda folder: weights_of(
        folder,
        lambda _: {
            "base_model.model.x.lora_A.weight": torch.ones(1, 70_000, dtype=torch.int8),
            "base_model.model.x.lora_A.scale": torch.ones(70_000, 1),
            "base_model.model.x.lora_B.weight": torch.ones(1, 1),
        },
    ),
    "the adapter cannot be read": lambda folder: (folder / "adapter_model.safetensors").write_bytes(
        of_another_type("base_model.model.x.lora_A.weight")
    ),
    r"'base_model.model.\\x1b\[2J' is no LoRA factor": lambda folder: weights_of(
        folder, lambda _: {"base_model.model.\x1b[2J": torch.ones(1)}
    ),
    "belongs to another base model": lambda folder: (folder / "polyphony.json").write_text('{"base_hash": "other"}'),
}  # fmt: skip


@pytest.mark.parametrize("reason", DAMAGE)
def test_what_cannot_be_trusted_is_refused_in_one_line(base, trained, tmp_path, reason):
    folder = tmp_path / "hers"
    folder.mkdir()
    for path in trained[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    DAMAGE[reason](folder)
    with pytest.raises(InputError, match=reason) as caught:
        read_directory(folder, base)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["", "a" * 10_000, "a\x00b", "a\nb", "a\u202eb", "e\u0301"])
def test_what_cannot_be_a_handle_is_refused(name):
    with pytest.raises(InputError, match="cannot be a handle") as caught:
        check_name(name)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "..", "'; DROP TABLE revision; --"])
def test_a_name_that_looks_like_a_path_is_only_a_name(base, bank, trained, tmp_path, name):
    assert imported(base, bank, trained[0], name).person == name == bank.revisions()[0].person
    assert {path.name for path in tmp_path.iterdir()} == {"bank"}


def test_the_commands_take_one_and_many(base, bank, trained, tmp_path, capsys):
    own = ours(base, bank, "../bob")
    place = ["--bank", str(bank.directory)]
    main(["bank", "import", str(trained[0]), "--person", "ada", *place])
    assert "revision 1: candidate" in capsys.readouterr().out
    main(["bank", "promote", "ada", "--force", *place])
    main(["bank", "export", "--all", "--out", str(tmp_path / "all"), *place])
    assert "2 adapters are in" in capsys.readouterr().out
    assert f"{own.adapter_id}-r1" in {path.name for path in (tmp_path / "all").iterdir()}
    main(["bank", "import", str(tmp_path / "all"), "--bank", str(tmp_path / "second")])
    main(["bank", "list", "--bank", str(tmp_path / "second"), "--json"])
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["revisions"]
    assert [made["person"] for made in listed] == ["../bob", "ada"]
    assert all(made["provenance"]["before"]["revision"] == 1 for made in listed)
    for arguments, said in (
        ([str(tmp_path / "all"), "--person", "x"], "holds 2 adapters: leave --person out"),
        ([str(tmp_path / "none")], "no such file or directory"),
    ):
        with pytest.raises(SystemExit):
            main(["bank", "import", *arguments, *place])
        assert said in capsys.readouterr().err


def test_a_run_acts_with_what_the_bank_serves(base, town, trained, tmp_path, capsys, short_texts):
    """Two people, one of whom gets an adapter from outside; nothing is trained."""
    bank = Bank(tmp_path / "bank", create=True)
    people = town.choose(2)
    first = imported(base, bank, trained[0], people[0].handle)
    place = ["--agents", "2", "--steps", "2", "--activation", "9", "--weights", "serving", "--dtype", "fp32",
             "--bank", str(bank.directory), "--out", str(tmp_path / "run.db")]  # fmt: skip
    bank.promote(first.adapter_id, 1, force=True)
    with pytest.raises(SystemExit) as caught:
        main(["run", *place])
    assert caught.value.code == 2 and not (tmp_path / "run.db").exists()
    assert f"serves nothing for 1 of 2 people, as {people[1].handle!r}" in " ".join(capsys.readouterr().err.split())
    mistyped = tmp_path / "mistyped"
    with pytest.raises(SystemExit) as caught:
        main(["run", *(str(mistyped) if word == str(bank.directory) else word for word in place)])
    assert caught.value.code == 2 and not mistyped.exists() and not (tmp_path / "run.db").exists()
    assert "mistyped: no adapter bank here" in " ".join(capsys.readouterr().err.split())
    second = ours(base, bank, people[1].handle, provenance={"corpus": {"digest": "of other acts"}})
    bank.promote(second.adapter_id, 1, force=True)
    capsys.readouterr()
    main(["run", *place])
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: 1 of 2 served adapters were trained on another version of 'town', with other acts or fewer" in said
    with closing(sqlite3.connect(tmp_path / "run.db")) as run:
        used = run.execute("SELECT DISTINCT agent_id, adapter_id, revision FROM activation ORDER BY 1").fetchall()
    assert used == [(0, first.adapter_id, 1), (1, second.adapter_id, 1)]
    assert len(bank.revisions(kind=PERSONAL)) == 2 and bank.runs_of(first.adapter_id) == [str(tmp_path / "run.db")]
    bank.close()


def test_exports_for_a_server_are_named_by_content_alone(base, bank, tmp_path):
    """What they hold is what the adapter and its foundation do; the name of nobody stands anywhere in them."""
    bob, twin = ours(base, bank, "xx-bob"), ours(base, bank, "xx-eve")
    paths = exports.exported(tmp_path / "there", bank, [bob, twin, bob])
    assert paths[0] == paths[1] == paths[2] and len(list((tmp_path / "there").iterdir())) == 1, "the same numbers"
    for file in paths[0].iterdir():
        assert b"xx-" not in file.read_bytes()
    whole = read_directory(paths[0], base).factors
    for name, (a, b) in complete(bank, bob).items():
        torch.testing.assert_close(whole[name][1] @ whole[name][0], b @ a)
    changed = paths[0].stat().st_mtime_ns
    assert exports.exported(tmp_path / "there", bank, [bob]) == [paths[0]] and paths[0].stat().st_mtime_ns == changed


def test_an_export_of_zeros_changes_nothing(base, tmp_path):
    """Its layer has the name that it has in the bare base, whether adapters are installed or not."""
    with AdaptedModel(base, SHAPE) as adapted:
        beside = exports.exported_zero(tmp_path / "beside", base, adapted)
    alone = exports.exported_zero(tmp_path / "alone", base, None)
    assert beside.name == alone.name == exports.exported_zero(tmp_path / "alone", base, None).name
    for path in (beside, alone):
        ((a, b),) = read_directory(path, base).factors.values()
        assert not a.any() and not b.any()
