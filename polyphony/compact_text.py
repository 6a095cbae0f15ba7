"""Texts of JSON in few bytes: settings and provenance say nearly the same in every row of a bank."""

import zlib
from typing import Any

# What most rows hold, the likeliest last (zlib's preset dictionary, RFC 1950). Rows are written with it: never change
# it, add another beside it.
DICTIONARY = (
    b'{"validation": [1.9684726574591227, 1.9248715319803782], "epoch": 2, "train": [2.6816672263322054, '
    b'{"nll": {"base": , "pooled": , "other": , "own": 3., "prior": 3.}, "probe": {"round_trip": , "drift": }}'
    b'"compacted": {"evaluation": null, "number": 1, "object": ", "rank": 4}, '
    b'{"acts": {"held_out": 12, "train": 38, "validation": 7}, "base_model": "SmolLM2-135M-Instruct", "basis": ", '
    b'"code": {"peft": "0.21.2", "polyphony": "0.2.0", "python": "3.11.7", "source": "", "torch": "2.13.0+cpu", '
    b'"transformers": "5.24.0"}, "corpus": {"consent": "not needed: no real people", "digest": '
    b'"72148270954ed68714548d737246a9737587c0597fcca7ca0c5ab53e9d0389a7", "licence": "Apache-2.0", "name": "town", '
    b'"origin": "made by Polyphony\'s own code from a seed (personas/town); no person in it exists", "private_acts": '
    b'}, "device": "cuda"cpu", "dtype": "fp32"bf16", "examples": {"nothing": 3, "train": 24, "validation": 7}, '
    b'"learned": ["2026-01-11T12:26:53+00:00", "2026-01-21T22:09:33+00:00"], "split": {"by": "person"date", "from": '
    b'"2026-01-26T18:31:43+00:00", "held_out": 0.2, "validation": 0.12}, "unshown": {"reason": }}'
    b'{"dtype": "bf16", "prompt": {"feed_items": 4, "grammar": "words", "item_tokens": 24, "memory_tokens": 0, '
    b'"opened_tokens": 24, "text_tokens": 96, "verbs": ["post", "reply", "quote", "repost", "like", "follow", '
    b'"nothing"]}, "schedule": {"act_weight": 0.2, "batch_size": 1, "epochs": 2, "habit_share": 1.0, "lr": 0.002, '
    b'"token_budget": 1024, "warmup_steps": 4, "weight_decay": 0.0}, "shape": {"alpha": 8.0, "rank": 4, '
    b'"skip_blocks": 0, "targets": [], "top_blocks": 10}}'
)
LEVEL = 9
# A row made to fill the memory unpacks a thousandfold.
MOST_BYTES = 64 << 20


def packed(text: str) -> bytes:
    """A text in few bytes."""
    packer = zlib.compressobj(LEVEL, zdict=DICTIONARY)
    return packer.compress(text.encode()) + packer.flush()


def unpacked(value: Any) -> Any:
    """The text that was packed; what earlier versions stored as text, and None, stay.

    Damaged or endless bytes give an empty text, which no seal fits.
    """
    if not isinstance(value, bytes):
        return value
    unpacker = zlib.decompressobj(zdict=DICTIONARY)
    try:
        text = unpacker.decompress(value, MOST_BYTES).decode()
    except (zlib.error, UnicodeDecodeError):
        return ""
    return text if unpacker.eof else ""
