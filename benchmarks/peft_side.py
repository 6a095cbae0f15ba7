"""The usual way to serve many adapters with PEFT: one lock, one adapter switched on at a time, behind FastAPI.

`python -m benchmarks.peft_side FOLDER PORT DTYPE`: FOLDER/base is the base, FOLDER/adapters/NAME are PEFT directories.
"""

import sys
from pathlib import Path
from threading import Lock
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main(folder: Path, port: int, dtype: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=getattr(torch, dtype)).eval()
    names = sorted(path.name for path in (folder / "adapters").iterdir())
    peft = PeftModel.from_pretrained(model, str(folder / "adapters" / names[0]), adapter_name=names[0])
    for name in names[1:]:
        peft.load_adapter(str(folder / "adapters" / name), adapter_name=name)
    lock, app = Lock(), FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/completions")
    def completion(body: dict[str, Any]) -> dict[str, Any]:
        with lock, torch.no_grad():
            peft.set_adapter(body["model"])
            tokens = peft.generate(
                input_ids=torch.tensor([body["prompt"]]), max_new_tokens=body["max_tokens"],
                min_new_tokens=body["max_tokens"], do_sample=True, temperature=body["temperature"], pad_token_id=0,
            )  # fmt: skip
        return {"usage": {"completion_tokens": tokens.shape[1] - len(body["prompt"])}}

    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
