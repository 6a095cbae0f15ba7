"""Inference with any mix of adapters in one batch: decoding, key-value store, adapter cache."""
