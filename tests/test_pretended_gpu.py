"""No command lets a tensor of main memory meet one of the GPU: the real commands, on a GPU that is pretended."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from calibration_factory import noise, written
from training_factory import tiny_model

from benchmarks.gpu_check import commands

HERE = Path(__file__).parent
AGENT = "h0"
BRIEF = ("mix", "bank evaluate", "run", "ask")
"""What passes through training, evaluation, the engine and serving."""
NOTHING_RIGHT = "none of the answers is right"
"""How a sweep ends over a model with random weights."""


def test_the_script_for_a_gpu_holds_every_command_with_a_device(tmp_path):
    with_device, command = set(), ""
    for line in (HERE.parent / "docs" / "options.md").read_text().splitlines():
        if line.startswith("### `simulate "):
            command = line.removeprefix("### `simulate ").rstrip("`")
        elif line.startswith("| `--device` |"):
            with_device.add(command)
    checked = {" ".join(line[: 2 if line[0] == "bank" else 1]) for line in commands(tmp_path, [], "town", "a").values()}
    assert with_device == checked | {"serve"}
    assert "serve" not in checked  # the script asks a server of its own


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """What makes torch believe in a GPU, built in 2 seconds."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    torch = Path(importlib.util.find_spec("torch").submodule_search_locations[0])
    if list((torch / "lib").glob("libtorch_cuda*")):
        pytest.skip("torch sees real GPUs here: tests/test_gpu.py")
    path = tmp_path_factory.mktemp("pretended") / "pretended_gpu.so"
    subprocess.run(
        [compiler, "-std=c++20", "-shared", "-fPIC", f"-I{torch}/include", str(HERE / "pretended_gpu.cpp"),
         "-o", str(path), f"-L{torch}/lib", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torch}/lib"],
        check=True,
    )  # fmt: skip
    return path


@pytest.fixture
def pretending(base, library, tmp_path):
    """Runs commands one after another on the pretended GPU: name -> exit code and what was printed on stderr."""
    tiny_model(base, tmp_path / "tiny")
    posts = written(_acts(), tmp_path / "posts.jsonl")
    machine = ["--device", "cuda", "--dtype", "fp32", "--base-model", str(tmp_path / "tiny")]
    lines = {**commands(tmp_path, machine, str(posts), AGENT), "ask": ["ask", AGENT], "mix": ["mix"]}

    def run(names):
        names = names or tuple(lines)
        path = os.pathsep.join([str(HERE), *sys.path])
        done = subprocess.run(
            [sys.executable, str(HERE / "pretended_commands.py"), str(library), str(tmp_path)],
            input="".join(json.dumps(lines[name]) + "\n" for name in names), capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": path}, check=False,
        )  # fmt: skip
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(names), done.stderr
        return dict(zip(names, answers, strict=True))

    return run


def _acts():
    """Posts, replies and likes of eight people."""
    rows = noise(people=8, acts=260, replies=0.5)
    texts = [row for number, row in enumerate(rows) if number % 7 != 3 or number < 20]
    kept = {row["id"] for row in texts}
    for row in texts:
        if row.get("reply_to") not in kept:
            row.pop("reply_to", None)
    likes = [
        {"author": row["author"], "id": row["id"], "text": "", "created_at": row["created_at"], "like_of": other["id"]}
        for number, row in enumerate(rows) if number % 7 == 3 and number >= 20
        for other in [next(each for each in reversed(rows[: number - 1])
                           if each["author"] != row["author"] and each["id"] in kept)]
    ]  # fmt: skip
    return sorted([*texts, *likes], key=lambda row: row["created_at"])


def _failures(answers):
    return {name: _shortened(answer["said"]) for name, answer in answers.items() if answer["code"] != 0}


def _shortened(said):
    """Without torch's list of all devices."""
    return "\n".join(line for line in said.splitlines() if " registered at " not in line)[-4000:]


def test_commands_keep_the_devices_apart(pretending):
    assert not _failures(pretending(BRIEF))


@pytest.mark.slow
def test_all_commands_keep_the_devices_apart(pretending):
    answers = pretending(())
    assert NOTHING_RIGHT in answers.pop("sweep")["said"]
    assert not _failures(answers)
