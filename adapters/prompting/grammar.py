"""The act grammar: how a verb, a target and the start of text become tokens.

An act is ``VERB``, ``VERB DIGIT``, ``VERB:text`` or ``VERB DIGIT:text``, where the verb's label and the digit are
one token each. Equal lengths let the labels compete fairly: scoring strings of unequal length (``post:`` against
``reply 1:``) measures tokens, not habits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyphony.errors import InputError
from polyphony.personas.people.acts import USUAL, Verb

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_FEED_ITEMS = 9

# Label sets to compare: a habit that appears under one set only is an artefact of its tokens.
LABEL_SETS: dict[str, dict[Verb, str]] = {
    "words": dict(
        zip(
            Verb,
            ("post", "reply", "quote", "share", "like", "follow", "nothing", "down", "hide", "search", "top"),
            strict=True,
        )
    ),
    "letters": dict(zip(Verb, "ABCDEFGHIJK", strict=True)),
    "shuffled-letters": dict(zip(Verb, "ECGAFBDJHKI", strict=True)),
}


@dataclass(frozen=True)
class Grammar:
    """Token ids of the act grammar under one tokenizer.

    Attributes:
        name: The label set.
        labels: Label text of each verb that is offered, as the prompt names them.
        verb_ids: Token id of each verb's label.
        digit_ids: Token ids of ``1`` to ``9``; item n of the feed is ``digit_ids[n - 1]``.
        colon_id: Token id that opens the text.
        end_id: Token id that ends an act.
    """

    name: str
    labels: dict[Verb, str]
    verb_ids: dict[Verb, int]
    digit_ids: tuple[int, ...]
    colon_id: int
    end_id: int

    def head(self, verb: Verb, position: int | None) -> list[int]:
        """Tokens of an act up to where its text begins.

        Args:
            verb: What is done.
            position: Feed item that it is about, from 1; None exactly for verbs without a target.
        """
        tokens = [self.verb_ids[verb]]
        if verb.has_target:
            if position is None:
                raise ValueError(f"{verb} needs a target")
            tokens.append(self.digit_ids[position - 1])
        if verb.has_text:
            tokens.append(self.colon_id)
        return tokens


def make_grammar(
    tokenizer: "PreTrainedTokenizerBase", name: str = "words", verbs: Sequence[Verb] = USUAL
) -> Grammar:  # fmt: skip
    """Build the grammar of one label set over the verbs that are offered.

    Raises:
        InputError: The label set does not exist, or a label, digit or colon is more than one token.
    """
    if name not in LABEL_SETS:
        raise InputError(f"--grammar {name!r} is not one of {', '.join(LABEL_SETS)}")
    labels = {verb: LABEL_SETS[name][verb] for verb in Verb if verb in verbs}
    if tokenizer.eos_token_id is None:
        raise InputError("the base model's tokenizer names no end-of-sequence token; add eos_token to its config")
    verb_ids = {verb: _single(tokenizer, label) for verb, label in labels.items()}
    digit_ids = tuple(_single(tokenizer, str(number)) for number in range(1, MAX_FEED_ITEMS + 1))
    return Grammar(name, labels, verb_ids, digit_ids, _single(tokenizer, ":"), int(tokenizer.eos_token_id))


def _single(tokenizer: "PreTrainedTokenizerBase", text: str) -> int:
    tokens = tokenizer.encode(text, add_special_tokens=False)
    if len(tokens) != 1:
        raise InputError(f"the base model's tokenizer splits {text!r} into {len(tokens)} tokens; use --grammar letters")
    return int(tokens[0])
