"""States of feed items: what the pointer scores, from the input embeddings of the tokens that a prompt shows."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.pointer import MARKS, pointer_size
from polyphony.adapters.prompting.prompt import NOTICES, FeedItem, PromptBuilder

assert len(NOTICES) + 7 == MARKS

# States that are kept: 2 KiB each at a width of 576.
REMEMBERED = 16_384


class ItemEncoder:
    """Makes the states of feed items.

    A state is the mean embedding of the item's words, that of its author's handle, both centred and of unit length, and
    marks: one for each of `NOTICES`, one for a reply, one for the first place of the feed, 1 / place, one for an author
    who is followed, the logarithm of 1 + the hours since it was written, one for an author with whom there were
    dealings (`FeedItem.dealings`), and the logarithm of 1 + how many. Last come a constant 1 and a 0, see
    `adapters.model.pointer.LEVEL`. The embeddings are frozen, and no pass of the model is needed. States of a middle
    block tell topics apart a little better, but not targets (`docs/method.md`).
    """

    def __init__(self, base: BaseModel, builder: PromptBuilder) -> None:
        """Take the embeddings of a base model, and the prompts that show the items."""
        self._table = base.model.get_input_embeddings().get_parameter("weight").detach()
        self._centre = self._table.float().mean(0).cpu()
        self._builder = builder
        self.width, _ = pointer_size(base)
        self.hidden = len(self._centre)
        self._state = lru_cache(maxsize=REMEMBERED)(self._mean)

    def states(self, feed: Sequence[FeedItem]) -> Tensor:
        """States of the items of one feed, in its order, float32 in main memory, shape [items, width]."""
        rows = [
            torch.cat([self.words(item.text), self.author(item.handle), self._marks(item, place)])
            for place, item in enumerate(feed, 1)
        ]
        return torch.stack(rows) if rows else torch.zeros(0, self.width)

    def words(self, text: str) -> Tensor:
        """The state of an item's words, as many as a prompt shows, shape [hidden]."""
        words = " ".join(text.split())
        return self._state(tuple(self._builder.plain(" " + words, self._builder.item_tokens)) if words else ())

    def author(self, handle: str) -> Tensor:
        """The state of a handle, shape [hidden]."""
        return self._state(tuple(self._builder.plain(f" @{' '.join(handle.split())}")))

    def _mean(self, tokens: Sequence[int]) -> Tensor:
        if not tokens:
            return torch.zeros_like(self._centre)
        ids = torch.tensor(tokens, device=self._table.device)
        state = self._table[ids].float().mean(0).cpu() - self._centre
        unit: Tensor = state / state.norm().clamp(min=1e-9)
        return unit

    @staticmethod
    def _marks(item: FeedItem, place: int) -> Tensor:
        notices = [float(item.notice == name) for name in NOTICES]
        first = [float(place == 1), 1 / place]
        known = [float(item.is_followed), math.log1p(max(0.0, item.hours))]
        ties = [float(item.dealings > 0), math.log1p(item.dealings)]
        return torch.tensor([*notices, float(item.is_reply), *first, *known, *ties, 1.0, 0.0])
