"""Updates of TRL's GRPOTrainer with one PEFT adapter; run by `benchmarks.reinforcement` in TRL's environment.

Reads what is asked as JSON from standard input, and prints the seconds of each update, the first left out.
"""

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version


def _main() -> None:
    asked = json.load(sys.stdin)
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(asked["threads"]))
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(asked["threads"])
    dtype = torch.bfloat16 if asked["dtype"] == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(asked["model"])
    answers = dict(zip(asked["prompts"], asked["answers"], strict=True))
    times: list[float] = []

    class Timed(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter())

    def reward(prompts: list[str], completions: list[str], **_: object) -> list[float]:
        pairs = zip(prompts, completions, strict=True)
        return [float(text.split("\n")[0].strip() == answers[prompt]) for prompt, text in pairs]

    with tempfile.TemporaryDirectory() as folder:
        batch = asked["items"] * asked["samples"]
        trainer = GRPOTrainer(
            model=model, processing_class=tokenizer, reward_funcs=reward, callbacks=[Timed()],
            train_dataset=Dataset.from_dict({"prompt": asked["prompts"]}),
            peft_config=LoraConfig(
                r=1, lora_alpha=1, target_modules=asked["targets"], layers_to_transform=list(range(*asked["blocks"]))
            ),
            args=GRPOConfig(
                output_dir=folder, max_steps=asked["updates"] + 1, per_device_train_batch_size=batch,
                num_generations=asked["samples"], max_completion_length=asked["most_tokens"], temperature=1.0,
                beta=0.0, learning_rate=1e-3, use_cpu=True, bf16=False, report_to=[], logging_strategy="no",
                save_strategy="no", disable_tqdm=True, gradient_checkpointing=False,
            ),
        )  # fmt: skip
        trainer.train()
    seconds = [after - before for before, after in zip(times, times[1:], strict=False)]
    versions = {name: version(name) for name in ("trl", "peft", "transformers", "torch")}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    _main()
