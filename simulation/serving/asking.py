"""Requests as jobs: prompts, choices, grammars, random draws and limits of each answer."""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.engine.generation import Continuation, Generation, LabelChoice, Sampling
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.head import Head
from polyphony.adapters.model.reading_pool import reading_pool
from polyphony.adapters.prompting.control_tokens import plain_tokens
from polyphony.randomness import keyed_generator
from polyphony.simulation.serving.answer import Answer, Chosen
from polyphony.simulation.serving.catalogue import Catalogue, Model
from polyphony.simulation.serving.chat_prompts import ChatPrompts
from polyphony.simulation.serving.json_grammar import JsonGrammars, schema_text
from polyphony.simulation.serving.protocol import ChatRequest, CompletionRequest, Drawing
from polyphony.simulation.serving.refusal import Refusal, bad, busy
from polyphony.simulation.serving.scheduler import RETRY_AFTER, Job, Scheduler
from polyphony.simulation.serving.tools import Offer, arguments_schema, offer_of, shown_numbers, takes_nothing

# Tokens within which a text under a grammar comes to its end when its budget is spent.
SPARE_TOKENS = 96
# Questions whose calibration is remembered.
CALIBRATED = 256
# Compiling takes some seconds of a core for each million characters.
MOST_TOOLS_BYTES = 256 << 10
# Log-probabilities that one request may ask for: each is an object in the response.
MOST_SCORES = 1 << 18
# A lower temperature than this takes the likeliest token: a logit over it would overflow.
LEAST_TEMPERATURE = 1e-5

Result = TypeVar("Result")


@dataclass(frozen=True)
class ServingConfig:
    """What a server decides where a request leaves it open.

    Attributes:
        decoding: How text is drawn.
        new_tokens: Most tokens of an answer.
        time_limit: Most seconds of an answer.
        seed: Keys the draws of requests that give none.
    """

    decoding: DecodingConfig = DecodingConfig()
    new_tokens: int = 256
    time_limit: float = 600.0
    seed: int = 0


@dataclass(frozen=True)
class _Chat:
    """A chat whose prompt is made.

    Attributes:
        model: Who answers.
        prompt: Tokens before the answer.
        offer: What may be called; None for an answer in words.
        schema: What the text must be; None for free text.
    """

    model: Model
    prompt: list[int]
    offer: Offer | None
    schema: dict[str, Any] | None


@dataclass(frozen=True)
class Asked:
    """A request on its way.

    Attributes:
        jobs: One for each answer.
        prompt_tokens: Tokens of the prompts.
        offer: What may be called; None for an answer in words.
    """

    jobs: list[Job]
    prompt_tokens: int
    offer: Offer | None = None


# A question with the first tokens of its labels.
_Labels = tuple[str, tuple[int, ...]]


class Asking:
    """Turns requests into jobs of the scheduler.

    Prompts and schemas are made on one thread of their own: one after the other, as the tokenizer needs it, while the
    clients' event loop goes on.
    """

    def __init__(
        self, base: BaseModel, head: Head, catalogue: Catalogue, scheduler: Scheduler, config: ServingConfig
    ) -> None:
        """Take what answers."""
        self._base, self._head = base, head
        self._catalogue, self._scheduler, self._config = catalogue, scheduler, config
        self._prompts = ChatPrompts(base.tokenizer, scheduler.most_columns)
        self._vocabulary = int(base.model.config.get_text_config().vocab_size)
        self._grammars: JsonGrammars | None = None
        self._biases: OrderedDict[_Labels, tuple[float, ...]] = OrderedDict()
        self._calibrating: dict[_Labels, asyncio.Task[tuple[float, ...]]] = {}
        self._unseeded = itertools.count()
        self._colon = plain_tokens(base.tokenizer, ":")
        self._preparing = reading_pool(1, "prompts")
        self._prepared = 0

    def close(self) -> None:
        """End the thread that makes prompts."""
        self._preparing.shutdown(cancel_futures=True)

    async def _prepare(self, work: Callable[[], Result]) -> Result:
        """Do a part of a request on the thread for it.

        Raises:
            Refusal: Too many requests wait for it.
        """
        if self._prepared >= self._scheduler.most_waiting:
            raise busy(RETRY_AFTER)
        self._prepared += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._preparing, work)
        finally:
            self._prepared -= 1

    async def chat(self, request: ChatRequest) -> Asked:
        """Put a chat's answers in line.

        Raises:
            Refusal: The request cannot be answered.
        """
        chat = await self._prepare(lambda: self._chat(request))
        bias = None if chat.offer is None else await self._bias(chat.offer)
        jobs = await self._prepare(lambda: self._chat_jobs(request, chat, bias))
        self._scheduler.submit(jobs)
        return Asked(jobs, len(chat.prompt), chat.offer)

    def _chat(self, request: ChatRequest) -> _Chat:
        model = self._catalogue.find(request.model)
        offer = offer_of(request, self._base.tokenizer)
        schema = None if request.response_format is None else request.response_format.constraining_schema
        if offer is None:
            return _Chat(model, self._prompts.chat(request.messages), None, schema)
        if schema is not None:
            raise bad("response_format: cannot be combined with tools; leave one of them out", "response_format")
        return _Chat(model, self._prompts.act(request.messages, offer.question), offer, None)

    def _chat_jobs(self, request: ChatRequest, chat: _Chat, bias: Sequence[float] | None) -> list[Job]:
        prompt, offer, schema = chat.prompt, chat.offer, chat.schema
        most = self._most(len(prompt), request.most, needs_spare=offer is not None or schema is not None)
        self._check_scores(request, request.top, most, request.n)
        schemas = self._schemas(offer, request) if offer is not None else []
        seed = self._seed(request)
        jobs: list[Job] = []
        for index in range(request.n):
            generation = self._generation(request, prompt, most, (seed, index), top=request.top, is_free=schema is None)
            answer = self._answer(generation, request)
            if offer is not None and bias is not None:
                generation.spare = SPARE_TOKENS
                uniform = float(keyed_generator(seed, "served label", index).random())
                generation.choice = self._choice(offer, bias, uniform, schemas, answer)
            elif schema is not None:
                generation.spare = SPARE_TOKENS
                generation.constraint = self.grammars.constraint(schema, "response_format")
            jobs.append(Job(chat.model, answer, self._config.time_limit))
        return jobs

    def _schemas(self, offer: Offer, request: ChatRequest) -> list[dict[str, Any] | None]:
        """What the arguments of each function must be; one that cannot be used is refused before anything waits."""
        shown = shown_numbers(request.messages)
        schemas = [None if function is None else arguments_schema(function, shown) for function in offer.functions]
        size = sum(len(schema_text(schema, "tools")) for schema in schemas if schema is not None)
        if size > MOST_TOOLS_BYTES:
            raise bad(f"tools: their schemas have {size:,} characters, at most {MOST_TOOLS_BYTES:,} are taken", "tools")
        for function, schema in zip(offer.functions, schemas, strict=True):
            if function is not None and schema is not None:
                self.grammars.constraint(schema, f"tools: {function.name}")
        return schemas

    async def completion(self, request: CompletionRequest) -> Asked:
        """Put completions in line.

        Raises:
            Refusal: The request cannot be answered.
        """
        jobs = await self._prepare(lambda: self._completion_jobs(request))
        self._scheduler.submit(jobs)
        return Asked(jobs, sum(len(job.answer.generation.prompt) for job in jobs[:: request.n]))

    def _completion_jobs(self, request: CompletionRequest) -> list[Job]:
        model = self._catalogue.find(request.model)
        answers = len(request.prompts) * request.n
        if answers > self._scheduler.most_waiting:
            raise bad(f"prompt: asks for {answers:,} answers; at most {self._scheduler.most_waiting:,} wait", "prompt")
        prompts = [self._tokens(prompt) for prompt in request.prompts]
        mosts = [self._most(len(prompt), request.max_tokens, param="prompt") for prompt in prompts]
        self._check_scores(request, request.logprobs, max(mosts), answers)
        seed = self._seed(request)
        jobs: list[Job] = []
        for prompt, most in zip(prompts, mosts, strict=True):
            for _ in range(request.n):
                generation = self._generation(request, prompt, most, (seed, len(jobs)), top=request.logprobs)
                jobs.append(Job(model, self._answer(generation, request), self._config.time_limit))
        return jobs

    @property
    def grammars(self) -> JsonGrammars:
        """Compiles schemas; made when a request first needs it."""
        if self._grammars is None:
            self._grammars = JsonGrammars(self._base.tokenizer, self._vocabulary)
        return self._grammars

    def _tokens(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            return self._prompts.text(prompt)
        if not prompt or min(prompt) < 0 or max(prompt) >= self._vocabulary:
            raise bad(f"prompt: token ids are 0 to {self._vocabulary - 1}", "prompt")
        return prompt

    def _check_scores(self, request: Drawing, top: int | None, most: int, answers: int) -> None:
        """Refuse more log-probabilities than a response may hold."""
        token_ids = request.logprob_token_ids or ()
        if token_ids and (min(token_ids) < 0 or max(token_ids) >= self._vocabulary):
            raise bad(f"logprob_token_ids: token ids are 0 to {self._vocabulary - 1}", "logprob_token_ids")
        if max((token for token, _ in request.biases), default=0) >= self._vocabulary:
            raise bad(f"logit_bias: token ids are 0 to {self._vocabulary - 1}", "logit_bias")
        count = (len(token_ids) + (top or 0)) * most * answers
        if count > MOST_SCORES:
            raise bad(
                f"asks for up to {count:,} log-probabilities; at most {MOST_SCORES:,} are given: ask for fewer with "
                "each token, fewer answers or a smaller max_tokens", "logprobs",
            )  # fmt: skip

    def _most(
        self, prompt: int, asked: int | None, *, needs_spare: bool = False, param: str = "messages"
    ) -> int:  # fmt: skip
        """Most tokens of an answer to a prompt of so many tokens."""
        room = self._scheduler.most_columns - prompt - (SPARE_TOKENS + 8 if needs_spare else 0)
        if room < 1 or (asked is not None and asked > room):
            note = f" and {asked:,} are asked for" if asked else ""
            reserve = f", of which a grammar keeps {SPARE_TOKENS + 8}" if needs_spare else ""
            raise bad(
                f"the prompt has {prompt:,} tokens{note}; there is room for {self._scheduler.most_columns:,} of both "
                f"together{reserve}",
                param, "context_length_exceeded",
            )  # fmt: skip
        return asked if asked is not None else min(self._config.new_tokens, room)

    def _seed(self, request: Drawing) -> int:
        if request.seed is not None:
            return request.seed
        return int(keyed_generator(self._config.seed, "unseeded request", next(self._unseeded)).integers(2**62))

    def _generation(
        self, request: Drawing, prompt: list[int], most: int, key: tuple[int, int], *, top: int | None,
        is_free: bool = True,
    ) -> Generation:  # fmt: skip
        decoding, scored = self._config.decoding, tuple(request.logprob_token_ids or ())
        # A client that gives no temperature leaves it to us how text is drawn: as agents draw theirs.
        as_agents = request.temperature is None
        penalty = decoding.repetition_penalty if as_agents and is_free else 1.0
        usual_top_p = decoding.top_p if as_agents else 1.0
        temperature = decoding.temperature if request.temperature is None else request.temperature
        sampling = Sampling(
            temperature=temperature if temperature >= LEAST_TEMPERATURE else 0.0,
            top_p=usual_top_p if request.top_p is None else request.top_p,
            repetition_penalty=penalty if request.repetition_penalty is None else request.repetition_penalty,
            top=top if top is not None or not scored else 0,
            scored=scored,
            bias=request.biases,
            goes_on=request.ignore_eos,
        )
        uniforms = keyed_generator(key[0], "served text", key[1]).random(most + SPARE_TOKENS)
        return Generation(prompt, sampling, most, uniforms)

    def _answer(self, generation: Generation, request: Drawing) -> Answer:
        return Answer(generation, self._base.tokenizer, request.stops, request.stream)

    def _choice(
        self, offer: Offer, bias: Sequence[float], uniform: float, schemas: Sequence[dict[str, Any] | None],
        answer: Answer,
    ) -> LabelChoice:  # fmt: skip
        """The choice of a function; its arguments come under their schema."""

        def taken(index: int, logs: np.ndarray) -> Continuation:
            answer.chosen = Chosen(index, logs)
            schema, function = schemas[index], offer.functions[index]
            if schema is None or function is None:
                return Continuation(self._colon)
            answer.stops = ()
            if takes_nothing(schema):
                answer.fixed = "{}"
                return Continuation(ended=True)
            return Continuation(self._colon, self.grammars.constraint(schema, f"tools: {function.name}"))

        return LabelChoice(offer.tokens, bias, uniform, taken)

    async def _bias(self, offer: Offer) -> tuple[float, ...]:
        """Log-probabilities of the labels under the bare base that was told nothing (Zhao et al. 2021, section 5).

        Requests that come at once with the same labels wait for one calculation.
        """
        key = offer.question, offer.tokens
        if key in self._biases:
            return self._biases[key]
        if key not in self._calibrating:
            task = self._calibrating[key] = asyncio.create_task(self._calibrated(offer))
            task.add_done_callback(lambda ended: self._end_calibration(key, ended))
        # A client that goes away ends its own waiting only.
        return await asyncio.shield(self._calibrating[key])

    async def _calibrated(self, offer: Offer) -> tuple[float, ...]:
        prompt = await self._prepare(lambda: self._prompts.content_free(offer.question))
        self._most(len(prompt), 1)
        return tuple(await self._scheduler.call(lambda: self._base_scores(prompt, offer.tokens)))

    def _end_calibration(self, key: _Labels, task: asyncio.Task[tuple[float, ...]]) -> None:
        """Keep what came of it; a fault is raised where it is waited for."""
        del self._calibrating[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._biases[key] = task.result()
        while len(self._biases) > CALIBRATED:
            self._biases.popitem(last=False)

    @torch.no_grad()
    def _base_scores(self, prompt: Sequence[int], labels: Sequence[int]) -> list[float]:
        device = self._base.device
        out: Any = self._base.model.base_model(input_ids=torch.tensor([prompt], device=device), use_cache=False)
        scores = self._head(out.last_hidden_state[0, -1], torch.tensor(labels, device=device))
        logs: list[float] = scores.log_softmax(-1).tolist()
        return logs


def check_ended(asked: Asked, job: Job, ending: str) -> None:
    """Refuse a call whose arguments did not come to an end: half of a JSON object is no call.

    Raises:
        Refusal: They did not.
    """
    chosen, offer = job.answer.chosen, asked.offer
    if chosen is None or offer is None or (function := offer.functions[chosen.index]) is None:
        return
    if ending == "length":
        raise Refusal(
            422, f"the arguments of {function.name} did not come to an end within {job.answer.generation.most} tokens; "
            "give more max_tokens, or a schema that ends", code="arguments_too_long", param="tools",
        )  # fmt: skip
