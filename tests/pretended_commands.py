"""Runs commands on the pretended GPU: a process of its own, since torch looks for its devices once.

`python pretended_commands.py LIBRARY FOLDER < commands`: one JSON list of arguments a line; `ask PERSON` asks a server
of the bank in FOLDER, `mix` tries mixtures. Answers with one JSON object a line: code, and what was printed on stderr.
"""

import contextlib
import ctypes
import io
import json
import sys
import traceback
from pathlib import Path

ctypes.CDLL(sys.argv[1])  # before torch

import torch  # noqa: E402
from conftest import ShortTexts  # noqa: E402
from pretended_gpu import DeviceMixture, pretended_gpu  # noqa: E402

from polyphony.adapters.model.base_model import load_base_model  # noqa: E402
from polyphony.simulation.cli.main import main  # noqa: E402
from polyphony.simulation.runs.loading import SharedLoader, loading_with  # noqa: E402


def ask(folder: Path, person: str) -> None:
    """Ask a server of the folder's bank for a few tokens, free and chosen among labels by tools."""
    from serving_factory import TOOLS, served

    base = load_base_model(folder / "tiny", device="cuda", dtype="fp32")
    with served(base, folder / "bank") as client:
        for fields in ({}, {"logprobs": True, "top_p": 0.9}, {"tools": TOOLS, "tool_choice": "required"}):
            message = {"role": "user", "content": "Hello"}
            body = {"model": person, "messages": [message], "seed": 1, "max_tokens": 4, **fields}
            answer = client.post("/v1/chat/completions", body)
            if answer.status_code != 200:
                raise RuntimeError(answer.text)


def mix() -> None:
    """Try what a GPU refuses, and what it takes."""
    here, there = torch.arange(3), torch.arange(3, device="cuda")
    mixtures = {
        "+": lambda: here + there, "comparison": lambda: there != here,
        "index_select": lambda: there.index_select(0, here), "cat": lambda: torch.cat([here, there]),
        "indices of the GPU": lambda: here[there], "masked_fill": lambda: there.masked_fill(here > 0, 0),
        "stored": lambda: there.index_copy_(0, here, here),
        "assigned": lambda: there.__setitem__(there, here),
    }  # fmt: skip
    for name, mixture in mixtures.items():
        try:
            mixture()
        except DeviceMixture:
            continue
        raise RuntimeError(f"{name} was not refused")
    taken = [there[here], there + torch.tensor(1), there.clone().copy_(here), here.to("cuda"), there * 2]
    if not all(tensor.device.type == "cuda" for tensor in taken):
        raise RuntimeError("a result has left the GPU")


def run(folder: Path, arguments: list[str]) -> dict[str, object]:
    """Run one command; a fault is part of the answer."""
    code: object = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            if arguments[0] == "ask":
                ask(folder, arguments[1])
            elif arguments[0] == "mix":
                mix()
            else:
                main(arguments)
        except SystemExit as stop:
            code = stop.code
        except Exception:
            traceback.print_exc()
            code = 1
    return {"code": code, "said": said.getvalue()}


with pretended_gpu(), loading_with(ShortTexts(SharedLoader())):
    for line in sys.stdin:
        print(json.dumps(run(Path(sys.argv[2]), json.loads(line))), flush=True)
