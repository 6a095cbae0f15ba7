"""The OpenAI-compatible server of a bank: requests, prompts, grammars, the thread that owns the model, HTTP."""
