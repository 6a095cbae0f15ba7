"""Randomness only from a counter-based generator keyed by what it is drawn for."""

import hashlib

import numpy as np


def keyed_generator(seed: int, purpose: str, *keys: int | str) -> np.random.Generator:
    """Return the generator of one purpose, independent of every other and of the order of calls.

    The key of a Philox counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as
    1, 2, 3") is the BLAKE2b digest of seed, purpose and keys, so that a draw depends only on what it is for:
    an agent's activation at a timestep is the same whatever was drawn before it.

    Args:
        seed: The run's seed, any integer.
        purpose: What the draw decides, e.g. ``"activation"``.
        keys: What it is decided for, e.g. the agent and the timestep.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, purpose, *keys))
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
