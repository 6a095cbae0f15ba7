"""Adapters that other programs wrote: PEFT's logits, or one true line, and never a hang or a full memory."""

import gzip
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import time
import warnings
from pathlib import Path

import pytest
import torch
from adapter_factory import random_factors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

from polyphony.adapters.bank import interchange, peft_config, peft_weights
from polyphony.adapters.bank.interchange import read_directory
from polyphony.adapters.bank.peft_config import other_base
from polyphony.adapters.bank.stacking import stack_alone
from polyphony.adapters.model.lora import AdaptedModel, LoraShape
from polyphony.adapters.model.routing import Route
from polyphony.errors import InputError

CASES = Path(__file__).with_name("cases")
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def case(base, tmp_path):
    """A copy of a case, whose configuration names the directory of the base model."""

    def copied(name, **changes):
        folder = Path(shutil.copytree(CASES / name, tmp_path / name))
        config = json.loads((folder / CONFIG).read_text())
        if config["base_model_name_or_path"] == "embedded":
            config["base_model_name_or_path"] = str(base.model.name_or_path)
        (folder / CONFIG).write_text(json.dumps(config | changes))
        return folder

    return copied


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(5, 40_000, (1, 4), generator=torch.Generator().manual_seed(1))


def ours(base, folder, tokens):
    factors = read_directory(folder, base).factors
    with torch.no_grad(), AdaptedModel(base, LoraShape(top_blocks=2)) as adapted:
        adapted.set_stack(stack_alone(adapted, [factors]), 1.0)
        with adapted.routed(Route(torch.zeros(1, dtype=torch.long))):
            return base.model(tokens).logits


def theirs(base, folder, tokens):
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT tells which patterns name no layer
        peft = PeftModel.from_pretrained(base.model, folder)
        answer = peft(tokens).logits
    peft.unload()
    return answer


@pytest.mark.parametrize("name", ["peft-02-alpha-key-regex", "peft-03-alpha-key-as-in-docstring", "peft-05-rank-256"])
def test_a_case_answers_as_under_peft(base, case, tokens, name):
    folder = case(name)
    with torch.no_grad():
        plain = base.model(tokens).logits
    expected = theirs(base, folder, tokens)
    assert (expected - plain).abs().max() > 1e-4, "the adapter must matter for this to prove anything"
    assert (ours(base, folder, tokens) - expected).abs().max() <= 1e-3


@pytest.mark.parametrize(
    "named",
    [
        {"alpha_pattern": {"q_proj": 9, ".*29.*q_proj": 40}},
        pytest.param({"alpha_pattern": {"proj": 9}}, marks=pytest.mark.slow),
        {"alpha_pattern": {"layers.2[0-9].self_attn.q_proj": 9}, "use_rslora": True},
        pytest.param({"alpha_pattern": {"self_attn.q_proj|mlp.up_proj": 9}}, marks=pytest.mark.slow),
        pytest.param(
            {"alpha_pattern": {"28.self_attn": 9, "^model": 5, "model.layers.28.self_attn.q_proj": 3}},
            marks=pytest.mark.slow,
        ),
        pytest.param({"target_modules": "all-linear", "layers_to_transform": None}, marks=pytest.mark.slow),
        {"target_modules": r".*\.(28|29)\..*q_proj", "layers_to_transform": None, "alpha_pattern": {r"\w+\.q_proj": 7}},
        pytest.param({"target_modules": None, "layers_to_transform": None}, marks=pytest.mark.slow),
        pytest.param(
            {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["k_proj"], "layers_pattern": ["layers"]},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_way_in_which_peft_matches_names(base, case, tokens, named):
    folder = case("peft-02-alpha-key-regex", alpha_pattern={})
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | named))
    assert (ours(base, folder, tokens) - theirs(base, folder, tokens)).abs().max() <= 1e-3


def test_ranks_by_regular_expression_are_peft_s(base, tokens, tmp_path):
    config = LoraConfig(
        r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], layers_to_transform=[28, 29], task_type="CAUSAL_LM",
        rank_pattern={r".*29\..*": 5, "(28|27).self_attn.v_proj": 3}, alpha_pattern={r"\w*.v_proj": 7}, use_rslora=True,
        init_lora_weights=False,
    )  # fmt: skip
    torch.manual_seed(0)
    peft = get_peft_model(base.model, config)
    peft.save_pretrained(str(tmp_path / "hers"))
    peft.unload()
    base.model.requires_grad_(False)
    assert {a.shape[0] for a, _ in read_directory(tmp_path / "hers", base).factors.values()} == {5}
    assert (ours(base, tmp_path / "hers", tokens) - theirs(base, tmp_path / "hers", tokens)).abs().max() <= 1e-3


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"target_modules": ["v_proj"]}, "target_modules do not name model.layers.2[89].self_attn.q_proj"),
        ({"layers_to_transform": [29]}, "target_modules do not name model.layers.28.self_attn.q_proj"),
        ({"exclude_modules": ".*q_proj"}, "target_modules do not name"),
        ({"target_modules": "(", "layers_to_transform": None}, "cannot match its patterns"),
        ({"target_modules": ".*q_proj"}, "`layers_to_transform` cannot be used when"),
        ({"target_modules": 5}, "cannot match its patterns"),
        ({"layers_to_transform": {"a": 1}}, "target_modules do not name"),
        ({"alpha_pattern": {"(a+": 3}}, "cannot match its patterns"),
        ({"alpha_pattern": {"a{99999999999}": 3}}, "cannot match its patterns"),
        ({"alpha_pattern": {"(" * 5000 + ")" * 5000: 3}}, "cannot match its patterns"),
        ({"rank_pattern": {"q_proj": 1.5}}, "must be a whole number from 1 to 4096"),
        ({"r": 10**9}, "must be a whole number"),
        ({"rank_pattern": {"q_proj": -1}}, "must be a whole number"),
        ({"rank_pattern": {".*28.*": 4}}, "model.layers.28.self_attn.q_proj has rank 1, adapter_config.json says 4"),
    ],
)
def test_a_configuration_is_refused_for_the_true_reason(base, case, changes, line):
    folder = case("peft-02-alpha-key-regex", alpha_pattern={})
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=line) as caught:
        read_directory(folder, base)
    assert str(caught.value).isprintable() and str(folder) in str(caught.value)


def test_a_pattern_that_takes_for_ever_is_refused(base, case, monkeypatch):
    monkeypatch.setattr(peft_config, "MATCHING_SECONDS", 0.3)
    folder = case("peft-02-alpha-key-regex", alpha_pattern={r"([\w.]+)+!": 3})
    begin = time.monotonic()
    with pytest.raises(InputError, match="takes over 0.3 s; name the layers"):
        read_directory(folder, base)
    assert time.monotonic() - begin < 5


def test_another_base_of_the_same_shapes_needs_a_word(base, bank, case, simulate):
    folder = case("peft-04-other-base-in-config")
    place = ("--person", "ada", "--bank", bank.directory)
    code, out, err = simulate("bank", "import", folder, *place)
    assert (code, out, len(err)) == (2, "", 1) and not bank.revisions()
    assert all(part in err[0] for part in ("'HuggingFaceTB/SmolLM-135M'", "SmolLM2-135M-Instruct", "--force-base"))
    code, out, err = simulate("bank", "import", folder, "--force-base", *place)
    assert code == 0 and "revision 1: candidate" in out
    assert any("warning" in line and "SmolLM-135M'" in line and "SmolLM2-135M-Instruct" in line for line in err)
    assert bank.revisions()[0].provenance["named_base"] == "HuggingFaceTB/SmolLM-135M"


@pytest.mark.parametrize(
    ("named", "is_other"),
    [
        (None, False), ("", False), (7, False), ("embedded", False), ("SmolLM2-135M-Instruct", False),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", False), ("./models/smollm2-135m-instruct/", False),
        ("HuggingFaceTB/SmolLM2-135M", True), ("C:\\models\\llama", True), ("a\x1b[2J", True), ("/", False),
    ],
)  # fmt: skip
def test_which_names_of_a_base_are_this_one(base, named, is_other):
    assert (other_base({"base_model_name_or_path": named}, base) is not None) is is_other


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("peft-06-zero-dim", "have 0 and 0 dimensions, not 2"),
        ("peft-07-vlm-prefix", "is not a linear layer of this base model's decoder blocks; give the --base-model"),
    ],
)
def test_a_case_is_refused_in_one_true_line(base, bank, case, simulate, name, line):
    code, out, err = simulate("bank", "import", case(name), "--person", "ada", "--bank", bank.directory)
    assert (code, out, len(err)) == (2, "", 1) and line in err[0]
    assert "--top-blocks" not in err[0], "`bank import` has no such option"


def options_of_import(simulate):
    code, out, _ = simulate("bank", "import", "--help")
    assert code == 0
    return out


def test_remedies_of_the_import_exist(base, case, simulate):
    options = options_of_import(simulate)
    assert "--base-model" in options and "--force-base" in options and "--person" in options


def content(tensors):
    """A safetensors file of any number type: name -> (type, shape, bytes)."""
    header, data = {}, b""
    for name, (kind, shape, numbers) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


LAYER = "base_model.model.model.layers.28.self_attn.q_proj"


@pytest.mark.parametrize(
    ("kind", "width"),
    [
        ("F8_E4M3", 1), ("F8_E5M2", 1), ("F8_E8M0", 1), ("I8", 1), ("U8", 1), ("I16", 2), ("I32", 4), ("I64", 8),
        ("BOOL", 1), ("C64", 8), ("F4", 1), ("F128", 16), ("U16", 2), ("U64", 8), ("", 4), ("pickle", 4),
    ],
)  # fmt: skip
def test_odd_number_types_are_refused(base, case, kind, width):
    folder = case("peft-02-alpha-key-regex", alpha_pattern={})
    (folder / WEIGHTS).write_bytes(
        content(
            {
                f"{LAYER}.lora_A.weight": (kind, [1, 576], bytes(576 * width)),
                f"{LAYER}.lora_B.weight": (kind, [576, 1], bytes(576 * width)),
            }
        )
    )
    with pytest.raises(InputError, match="are numbers of type|cannot be read") as caught:
        read_directory(folder, base)
    assert str(caught.value).isprintable()


def to_pipe(path):
    path.unlink()
    os.mkfifo(path)


def to_link(target):
    def change(path):
        path.unlink()
        path.symlink_to(target)

    return change


def longer(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + (200 << 20))


def over_the_limit(path):
    with path.open("r+b") as file:
        file.truncate(600 << 20)


def header_of(length):
    return lambda path: path.write_bytes(length.to_bytes(8, "little") + b"{" * 64)


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG, "polyphony.json"])
@pytest.mark.parametrize("change", [to_pipe, to_link("/dev/zero"), to_link("/dev/tty"), to_link("/")])
def test_what_is_no_file_neither_hangs_nor_fills_the_memory(base, case, file, change):
    folder = case("peft-02-alpha-key-regex", alpha_pattern={})
    (folder / file).touch()
    change(folder / file)
    begin = time.monotonic()
    with pytest.raises(InputError, match="not a regular file|cannot be read"):
        read_directory(folder, base)
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (longer, "its header says"),
        (over_the_limit, "are over the limit of 512 MiB"),
        (header_of(2**63), "its header does not fit the file"),
        (header_of(1), "its header does not fit the file"),
        (header_of(64), "its header is damaged"),
        (lambda path: path.write_bytes(b""), "its header does not fit"),
        (lambda path: path.write_bytes(content({"x": ("F32", [2], b"")})), "cannot be read"),
        (lambda path: path.write_bytes((10).to_bytes(8, "little") + b"[" * 10), "its header is damaged"),
        (
            lambda path: path.write_bytes((400_000).to_bytes(8, "little") + b"[" * 200_000 + b"]" * 200_000),
            "its header is damaged",
        ),
    ],
)
def test_a_header_that_claims_something_else_is_refused_before_memory_fills(base, case, change, line):
    folder = case("peft-02-alpha-key-regex", alpha_pattern={})
    change(folder / WEIGHTS)
    with pytest.raises(InputError, match=line):
        read_directory(folder, base)


def test_a_link_to_a_file_is_read(base, case, tmp_path):
    folder = case("peft-02-alpha-key-regex")
    blob = tmp_path / "blob"
    (folder / WEIGHTS).rename(blob)
    (folder / WEIGHTS).symlink_to(blob)
    assert read_directory(folder, base).factors


def test_padding_to_one_rank_is_bounded(base, case, monkeypatch):
    monkeypatch.setattr(interchange, "MOST_PADDED_BYTES", 1 << 20)
    with pytest.raises(InputError, match="rank 256 on 1 layers takes 1,179,648 bytes, over the limit of 1 MiB"):
        read_directory(case("peft-05-rank-256"), base)


@pytest.mark.parametrize(
    ("card", "line"),
    [
        ('{"person": "a\\u001b[2J"}', "cannot be a handle"),
        ('{"person": "\\ud800"}', "cannot be a handle"),
        ('{"person": ["a"], "provenance": NaN}', "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"person": ' + "9" * 5000 + "}", "cannot be read as JSON"),
        ('{"base_hash": ["x"]}', "belongs to another base model"),
    ],
)
def test_a_foreign_card_is_refused_in_one_line(base, bank, case, simulate, card, line):
    folder = case("peft-02-alpha-key-regex")
    (folder / "polyphony.json").write_text(card)
    code, out, err = simulate("bank", "import", folder, "--bank", bank.directory)
    assert (code, out, len(err)) == (2, "", 1) and line in err[0] and err[0].isprintable()


def test_a_foreign_card_is_stored_and_shown_inert(base, bank, case, simulate):
    folder = case("peft-02-alpha-key-regex")
    card = {"person": "ada", "provenance": {"\x1b[2J": "\u202e\x1b]0;owned\x07"}, "revision": "\ud800"}
    (folder / "polyphony.json").write_text(json.dumps(card))
    assert simulate("bank", "import", folder, "--bank", bank.directory)[0] == 0
    code, out, _ = simulate("bank", "show", "ada", "--json", "--bank", bank.directory)
    assert code == 0 and json.loads(out)["provenance"]["before"]["provenance"] == card["provenance"]
    assert "\x1b" not in out


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["(", "a*", "29"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def check_survives(base, folder):
    try:
        read_directory(folder, base)
    except InputError as error:
        assert str(error).isprintable() and len(str(error)) < 1500


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(peft_config.UNDERSTOOD | {"bias", "use_dora"})), JSON, max_size=4))
def test_odd_configurations_are_one_line(base, tmp_path, changes):
    folder = tmp_path / "odd"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CASES / "peft-02-alpha-key-regex", folder)
    config = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(config))
    check_survives(base, folder)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_weights_are_one_line(base, tmp_path, data):
    folder = tmp_path / "odd"
    if not folder.exists():
        shutil.copytree(CASES / "peft-02-alpha-key-regex", folder)
    whole = bytearray((CASES / "peft-02-alpha-key-regex" / WEIGHTS).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 600))] = data.draw(st.integers(0, 255))
    (folder / WEIGHTS).write_bytes(bytes(whole[: data.draw(st.sampled_from([len(whole), 5000, 300]))]))
    check_survives(base, folder)


@pytest.mark.slow
def test_the_largest_adapter_takes_less_than_a_gigabyte_above_its_size(base, tmp_path, case):
    """In a process of its own, whose peak is its own."""
    folder = case("peft-05-rank-256", target_modules="all-linear", layers_to_transform=None, r=128, lora_alpha=128)
    with AdaptedModel(base, LoraShape(rank=128, top_blocks=10_000)) as adapted:
        factors = random_factors(adapted, 1, rank=128)
    tensors = {}
    for name, (a, b) in factors.items():
        tensors |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
    save_file(tensors, folder / WEIGHTS)
    size = (folder / WEIGHTS).stat().st_size
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from polyphony.adapters.model.base_model import load_base_model\n"
        "from polyphony.adapters.bank.interchange import read_directory\n"
        "base = load_base_model(None, device='cpu', dtype='fp32')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "read_directory(Path(sys.argv[1]), base)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=True)
    assert size > 100 << 20 and int(done.stdout) - size < 1 << 30


def test_the_limit_of_the_weights_stands_in_one_place():
    assert peft_weights.MOST_BYTES == interchange.MOST_PADDED_BYTES == 512 << 20


def tar_of(member):
    """A tar file of one member that claims and holds a gigabyte of zeros, compressed to a megabyte."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as packed:
        packed.write(member.tobuf())
        for _ in range(member.size >> 20):
            packed.write(bytes(1 << 20))
    return stream.getvalue()


@pytest.mark.parametrize(("name", "kind"), [("bank.json", tarfile.REGTYPE), ("x", tarfile.XHDTYPE), ("y", b"L")])
def test_an_archive_that_unpacks_to_a_thousandfold_is_refused(bank, tmp_path, simulate, name, kind):
    member = tarfile.TarInfo(name)
    member.size, member.type = 256 << 20, kind
    (tmp_path / "bomb.tar.gz").write_bytes(tar_of(member))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, out, err = simulate("bank", "import", tmp_path / "bomb.tar.gz", "--bank", bank.directory)
    assert (code, out, len(err)) == (2, "", 1) and "over the limit of" in err[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize("change", [to_pipe, to_link("/dev/zero")])
def test_an_archive_that_is_no_file_is_refused(bank, tmp_path, simulate, change):
    (tmp_path / "a.tar").touch()
    change(tmp_path / "a.tar")
    code, out, err = simulate("bank", "import", tmp_path / "a.tar", "--bank", bank.directory)
    assert (code, out, len(err)) == (2, "", 1) and "not a regular file" in err[0]
