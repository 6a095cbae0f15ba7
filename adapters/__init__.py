"""One base model, many adapters.

Sub-rooms in layers; each imports only from those below it, and those of one line do not import each other:

- `evaluation`: scores and probes of adapters on held-out acts;
- `training` (adapters from posts) and `engine` (acts from adapters);
- `prompting` (prompts, examples, scores) and `bank` (adapters on disk);
- `model`: the base model and its LoRA layers.
"""
