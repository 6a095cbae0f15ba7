"""Adapters on disk: identity, revisions, objects, exchange with PEFT. Trains nothing and runs no model."""
