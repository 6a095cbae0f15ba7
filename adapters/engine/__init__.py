"""Inference with any mix of adapters in one batch: acts, batch, prefix cache, key-value store, adapter cache."""
