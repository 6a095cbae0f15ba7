"""The frozen base model and its LoRA layers: blocks, attention, kernels, memory. Knows no prompt and no person."""
