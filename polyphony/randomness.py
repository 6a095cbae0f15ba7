"""Randomness only from a counter-based generator keyed by what it is drawn for."""

import hashlib

import numpy as np
from numpy.random.bit_generator import ISeedSequence


class _Key(ISeedSequence):
    """The key of a Philox generator, without the pool of entropy that numpy would collect for each."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def generate_state(self, n_words: int, dtype: object = np.uint32) -> np.ndarray:
        """The two words of 64 bits that Philox asks for."""
        return np.frombuffer(self._digest, dtype="<u8")


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
    key = _Key(hashlib.blake2b(text.encode(), digest_size=16).digest())
    return np.random.Generator(np.random.Philox(key))  # type: ignore[arg-type]  # numpy names its own sequences alone
