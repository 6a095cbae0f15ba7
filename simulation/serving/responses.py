"""Answers as OpenAI shows them, whole or as a stream of parts."""

import math
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from polyphony.simulation.serving.answer import Chunk, ScoredToken
from polyphony.simulation.serving.asking import Asked, check_ended
from polyphony.simulation.serving.protocol import ChatRequest, CompletionRequest, Drawing
from polyphony.simulation.serving.refusal import Refusal
from polyphony.simulation.serving.scheduler import Job
from polyphony.simulation.serving.tools import call_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST = -9999.0
"""Stands for a log-probability of minus infinity, which JSON has not."""


@dataclass(frozen=True)
class Shown:
    """What all parts of one response share."""

    request: Drawing
    asked: Asked
    tokenizer: "PreTrainedTokenizerBase"
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def is_chat(self) -> bool:
        """Whether it answers a chat."""
        return isinstance(self.request, ChatRequest)

    def head(self, *, is_part: bool) -> dict[str, Any]:
        """What every object begins with."""
        kind = ("chat.completion" + ".chunk" * is_part) if self.is_chat else "text_completion"
        prefix = "chatcmpl" if self.is_chat else "cmpl"
        return {"id": f"{prefix}-{self.number}", "object": kind, "created": self.created, "model": self.request.model}

    def usage(self) -> dict[str, int]:
        """Counts of tokens."""
        output = sum(job.answer.output_tokens for job in self.asked.jobs)
        prompt = self.asked.prompt_tokens
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}

    def function_name(self, job: Job) -> str | None:
        """The function that an answer calls; None for words."""
        chosen, offer = job.answer.chosen, self.asked.offer
        function = None if chosen is None or offer is None else offer.functions[chosen.index]
        return None if function is None else function.name

    def finish(self, job: Job, chunk: Chunk) -> str | None:
        """Why an answer ended, as OpenAI says it."""
        if chunk.ending is None:
            return None
        return "tool_calls" if self.function_name(job) is not None else chunk.ending

    def shares(self, job: Job) -> dict[str, float] | None:
        """Log-probability of each function, where log-probabilities were asked for; `null` stands for words."""
        chosen, offer = job.answer.chosen, self.asked.offer
        if chosen is None or offer is None or not job.answer.generation.sampling.is_scored:
            return None
        names = ["null" if function is None else function.name for function in offer.functions]
        return {name: _finite(float(log)) for name, log in zip(names, chosen.logs, strict=True)}


async def parts_of(job: Job) -> AsyncIterator[Chunk]:
    """The parts of one answer as they come.

    Raises:
        Refusal: It could not be finished.
    """
    while True:
        event = await job.events.get()
        if isinstance(event, Refusal):
            raise event
        yield event
        if event.ending is not None:
            return


async def whole(shown: Shown) -> dict[str, Any]:
    """The whole response.

    Raises:
        Refusal: One of the answers could not be finished.
    """
    choices = []
    for index, job in enumerate(shown.asked.jobs):
        chunks = [chunk async for chunk in parts_of(job)]
        check_ended(shown.asked, job, str(chunks[-1].ending))
        joined = Chunk(
            "".join(chunk.text for chunk in chunks), tuple(token for chunk in chunks for token in chunk.scored),
            chunks[-1].ending,
        )  # fmt: skip
        choices.append(_choice(shown, index, job, joined))
    return {**shown.head(is_part=False), "choices": choices, "usage": shown.usage()}


def _choice(shown: Shown, index: int, job: Job, chunk: Chunk) -> dict[str, Any]:
    ending = {"index": index, "finish_reason": shown.finish(job, chunk)}
    scores = _scores(shown, job, chunk)
    if not shown.is_chat:
        return {**ending, "text": chunk.text, "logprobs": scores, **_token_ids(shown, job)}
    message: dict[str, Any] = {"role": "assistant", "content": chunk.text}
    if (name := shown.function_name(job)) is not None:
        message = {"role": "assistant", "content": None, "tool_calls": [_call(shown, index, name, chunk.text)]}
    shares = shown.shares(job)
    return {
        **ending,
        "message": message,
        "logprobs": scores,
        **({} if shares is None else {"function_logprobs": shares}),
    }


def _token_ids(shown: Shown, job: Job) -> dict[str, list[int]]:
    """A completion's tokens, where they were asked for; the end is none of them."""
    is_wanted = isinstance(shown.request, CompletionRequest) and shown.request.return_token_ids
    return {"token_ids": list(job.answer.generation.written)} if is_wanted else {}


def _call(shown: Shown, index: int, name: str, arguments: str) -> dict[str, Any]:
    return call_object(name, arguments, f"{shown.number[:20]}{index}")


async def streamed(shown: Shown, job: Job, index: int) -> AsyncIterator[dict[str, Any]]:
    """One answer's parts as they come.

    Raises:
        Refusal: It could not be finished.
    """
    is_first = True
    async for chunk in parts_of(job):
        if chunk.ending is not None:
            check_ended(shown.asked, job, chunk.ending)
        choice: dict[str, Any] = {"index": index, "finish_reason": shown.finish(job, chunk)}
        choice["logprobs"] = _scores(shown, job, chunk)
        if shown.is_chat:
            choice["delta"] = _delta(shown, job, index, chunk, is_first=is_first)
        else:
            choice["text"] = chunk.text
        is_first = False
        yield {**shown.head(is_part=True), "choices": [choice]}


def _delta(shown: Shown, job: Job, index: int, chunk: Chunk, *, is_first: bool) -> dict[str, Any]:
    name = shown.function_name(job)
    role = {"role": "assistant"} if is_first else {}
    if name is None:
        return {**role, "content": chunk.text}
    if is_first:
        return {**role, "content": None, "tool_calls": [{"index": 0, **_call(shown, index, name, chunk.text)}]}
    return {"tool_calls": [{"index": 0, "function": {"arguments": chunk.text}}]}


def _scores(shown: Shown, job: Job, chunk: Chunk) -> dict[str, Any] | None:
    if not job.answer.generation.sampling.is_scored:
        return None
    if shown.is_chat:
        return {"content": [_chat_token(shown, job, token) for token in chunk.scored], "refusal": None}
    return _completion_tokens(shown, job, chunk.scored)


def _chat_token(shown: Shown, job: Job, scored: ScoredToken) -> dict[str, Any]:
    pairs = [*scored.scores.top, *zip(job.answer.generation.sampling.scored, scored.scores.scored, strict=True)]
    top = [_chat_score(shown, token, log) for token, log in dict(pairs).items()]
    return {**_chat_score(shown, scored.token, scored.scores.own), "top_logprobs": top}


def _chat_score(shown: Shown, token: int, log: float) -> dict[str, Any]:
    text = _text_of(shown, token)
    return {"token": text, "token_id": token, "logprob": _finite(log), "bytes": list(text.encode())}


def _completion_tokens(shown: Shown, job: Job, scored: Sequence[ScoredToken]) -> dict[str, Any]:
    """Parallel lists, as the older of OpenAI's two formats has them."""
    by_id = isinstance(shown.request, CompletionRequest) and shown.request.return_tokens_as_token_ids
    wanted = job.answer.generation.sampling.scored

    def named(token: int, *, is_wanted: bool = False) -> str:
        return f"token_id:{token}" if by_id or is_wanted else _text_of(shown, token)

    tops = [
        {
            **{named(token): _finite(log) for token, log in token.scores.top},
            **{named(id_, is_wanted=True): _finite(log) for id_, log in zip(wanted, token.scores.scored, strict=True)},
        }
        for token in scored
    ]  # fmt: skip
    return {
        "tokens": [named(token.token) for token in scored],
        "token_logprobs": [_finite(token.scores.own) for token in scored],
        "top_logprobs": tops,
    }


def _text_of(shown: Shown, token: int) -> str:
    return str(shown.tokenizer.decode([token]))


def _finite(log: float) -> float:
    return max(log, LEAST) if not math.isnan(log) else LEAST
