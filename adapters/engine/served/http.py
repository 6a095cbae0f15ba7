"""Any OpenAI-compatible server as an engine; what it can tell decides how acts are chosen."""

from collections.abc import Sequence

from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.engine.served.chat import Chat
from polyphony.adapters.engine.served.client import Client, Refused, ServerError
from polyphony.adapters.engine.served.completions import PATH, Completions, label_answer, label_body, probed
from polyphony.adapters.engine.served.served_engine import ServedEngine, ServedModels, served_description
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.errors import InputError

NAME = "http"
# Texts in which tokenizers differ: how many tokens a server counts shows whether it has ours.
_TELLING = (
    "The harbour is closed again, and nobody told us why; 12,345 boats wait.",
    "def f(x):\n    return x ** 2  # squared",
    "Größe, café, naïve, 東京, Привет, 🙂🙂",
)


def http_engine(
    client: Client, base: BaseModel, kit: PromptKit, models: Sequence[str], decoding: DecodingConfig
) -> ServedEngine:
    """Find out what a server can tell, and make the engine that asks it.

    A server with our tokenizer that tells log-probabilities is asked for labels; of any other, acts are sampled.

    Args:
        client: The server.
        base: The base model, whose tokens and context count.
        kit: Prompts and act scorer.
        models: The name of each slot's model; the first is also that of requests without a slot.
        decoding: How texts are drawn.

    Raises:
        InputError: The server cannot be reached, or refuses what is asked.
    """
    try:
        exactness = probed(client, kit, models[0])
        is_ours = exactness is not None and (
            _names_labels(client, kit, models[0]) or _counts_alike(client, kit, models[0])
        )
    except ServerError as error:
        raise InputError(f"--engine http: {error}") from error
    interface = (
        Completions(client, kit, decoding, *exactness)
        if exactness is not None and is_ours
        else Chat(client, kit, decoding)
    )
    served = ServedModels(models[0], models)
    return ServedEngine(client, interface, served, base, kit, None, served_description(NAME, "", interface))


def _names_labels(client: Client, kit: PromptKit, model: str) -> bool:
    """Whether the server calls each label's token what we call it."""
    labels, tokenizer = sorted(kit.builder.grammar.verb_ids.values()), kit.builder.tokenizer
    body = label_body(model, kit.builder.plain("You:"), labels, 1) | {"return_tokens_as_token_ids": False}
    try:
        answer = client.post(PATH, body)
        top = answer["choices"][0]["logprobs"]["top_logprobs"][0]
        return label_answer(answer, labels, tokenizer).keys() == set(labels) and not any(
            str(name).startswith("token_id:") for name in top
        )
    except (Refused, LookupError, TypeError):
        return False


def _counts_alike(client: Client, kit: PromptKit, model: str) -> bool:
    """Whether the server counts as many tokens as we do, or always the one more that begins a text."""
    more = set()
    for text in _TELLING:
        try:
            answer = client.post(PATH, {"model": model, "prompt": text, "max_tokens": 1})
            more.add(answer["usage"]["prompt_tokens"] - len(kit.builder.tokenizer.encode(text)))
        except (Refused, LookupError, TypeError):
            return False
    return more in ({0}, {1}, {-1})
