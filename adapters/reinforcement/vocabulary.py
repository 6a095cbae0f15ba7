"""Which tokens begin a text, end an answer, or are never drawn."""

import re

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.prompting.control_tokens import control_tokens


def beginning(base: BaseModel) -> list[int]:
    """The token that begins a text, in families that have one and no chat template."""
    begin = base.tokenizer.bos_token_id
    return [] if begin is None or base.tokenizer.chat_template else [begin]


def banned_tokens(base: BaseModel) -> list[int]:
    """Control tokens, and rows of the head that stand for no token."""
    rows = base.model.get_output_embeddings().weight.shape[0]
    special = control_tokens(base.tokenizer)
    return sorted({token for token in special if token < rows} | set(range(len(base.tokenizer), rows)))


def stop_tokens(base: BaseModel) -> list[int]:
    """Tokens that end an answer: those with a line break in them, and the end of the text."""
    texts = base.tokenizer.batch_decode([[token] for token in range(len(base.tokenizer))])
    broken = [token for token, text in enumerate(texts) if re.search(r"[\r\n]", text)]
    end = base.tokenizer.eos_token_id
    return sorted({*broken, *([] if end is None else [end])})
