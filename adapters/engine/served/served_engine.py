"""The engine whose model runs in a server: draws acts from the label probabilities that the server tells."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from polyphony.adapters.engine.acts import ActChoice, ActFailure, ActRequest, draw_index
from polyphony.adapters.engine.engine import check_requests
from polyphony.adapters.engine.interface import EngineDescription, Exactness
from polyphony.adapters.engine.pointing import Pointing
from polyphony.adapters.engine.served.chat import Chat
from polyphony.adapters.engine.served.client import AT_ONCE, Client, Refused, ServerError, Unreachable
from polyphony.adapters.engine.served.completions import Completions
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.errors import PolyphonyError
from polyphony.personas.people.acts import Verb


@dataclass(frozen=True)
class ServedModels:
    """What a server calls the models of agents.

    Attributes:
        base: The name of what answers requests without a slot: the bare base.
        of_slot: The name of each slot's model.
        restore: Has the server load a model again that it no longer knows, after it was started anew; None where it
            cannot.
    """

    base: str
    of_slot: Sequence[str] = ()
    restore: Callable[[str], None] | None = None

    def of(self, slot: int | None) -> str:
        """The name of a slot's model."""
        return self.base if slot is None else self.of_slot[slot]


class ServedEngine:
    """Asks a server about each act: first the verb, then its target, then the words.

    Verb and target are drawn here, from the log-probabilities of their labels, calibrated as everywhere. A request that
    cannot be answered is a failure with its reason, never another act.
    """

    def __init__(
        self, client: Client, interface: Completions | Chat, models: ServedModels, base: BaseModel, kit: PromptKit,
        adapted: AdaptedModel | None, description: EngineDescription,
    ) -> None:  # fmt: skip
        """Take a server that was found able.

        Args:
            client: The server, which `close` closes.
            interface: How it is asked.
            models: What it calls the models of agents.
            base: The base model, whose tokens and context count.
            kit: Prompts and act scorer.
            adapted: The same adapters here, for their pointers; None where there is none.
            description: What `describe` says.
        """
        self._client, self._asked, self._models, self._base, self._kit = client, interface, models, base, kit
        self._pointing, self._description = Pointing(adapted), description
        self._grammar = kit.builder.grammar

    def describe(self) -> EngineDescription:
        """What was found out when the engine was made."""
        return self._description

    def cache_prefixes(self, prefixes: Sequence[tuple[int | None, Sequence[int]]]) -> None:
        """Nothing: a server has a cache of its own."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def decide(self, requests: Sequence[ActRequest]) -> list[ActChoice | ActFailure]:
        """Answer act requests, several at the same time.

        Raises:
            InputError: A prompt with its act does not fit the base model's context.
            PolyphonyError: The server cannot be reached for any of them: it is gone.
            ValueError: A verb is asked for that the prompts do not name.
        """
        check_requests(requests, self._kit, self._base)
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            answers = list(pool.map(self._answer, requests))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for answers
        unreachable = [answer for answer in answers if isinstance(answer, Unreachable)]
        if answers and len(unreachable) == len(answers):
            raise PolyphonyError(f"{unreachable[0]}; start it again, then continue with --resume")
        return [ActFailure(str(answer)) if isinstance(answer, ServerError) else answer for answer in answers]

    def _answer(self, request: ActRequest) -> ActChoice | ServerError:
        model = self._models.of(request.slot)
        try:
            try:
                return self._choice(model, request)
            except Refused as refusal:
                if refusal.status != 404 or self._models.restore is None:
                    raise
                self._models.restore(model)
                return self._choice(model, request)
        except ServerError as error:
            return error

    @torch.no_grad()
    def _choice(self, model: str, request: ActRequest) -> ActChoice:
        asked = self._asked
        if isinstance(asked, Chat):
            return asked.act(model, request)
        shares = self._verb_shares(asked, model, request)
        verb = VERBS[draw_index(shares.numpy(), request.uniforms[0])]
        distribution = {label: float(share) for label, share in zip(VERBS, shares, strict=True) if share > 0}
        position = self._position(asked, model, request, verb) if verb.has_target else None
        if not verb.has_text:
            return ActChoice(distribution, verb, position, "", 1 + (position is not None))
        opened = request.opened[position - 1] if request.opened and position is not None else ()
        head = self._grammar.head(verb, position)
        prompt = [*request.prompt, *head[:-1], *opened, head[-1]]
        written = asked.write(model, prompt, request.length_cap, float(request.uniforms[2]))
        tokens = 1 + (position is not None) + len(opened) + written.tokens
        return ActChoice(distribution, verb, position, written.text, tokens)

    def _verb_shares(self, interface: Completions, model: str, request: ActRequest) -> Tensor:
        """The probability of each verb, shape [verbs]."""
        allowed = torch.tensor([[verb in request.targets for verb in VERBS]])
        scores = self._scores(interface, model, request.prompt, {
            VERBS.index(verb): self._grammar.verb_ids[verb] for verb in request.targets
        }, len(VERBS))  # fmt: skip
        device = self._kit.scorer.verb_bias.device
        pulls = self._pointing.pulls([request])
        return self._kit.scorer.calibrated_verbs(scores.to(device), allowed.to(device), pulls)[0].exp().cpu()

    def _position(self, interface: Completions, model: str, request: ActRequest, verb: Verb) -> int:
        """Draw the feed item, from 1, that an act is about: by the pointer, else by the digits."""
        if self._pointing.serves(request):
            return self._pointing.position(request, verb)
        scorer, items = self._kit.scorer, request.targets[verb]
        most = len(scorer.digit_ids)
        prompt = [*request.prompt, self._grammar.verb_ids[verb]]
        scores = self._scores(interface, model, prompt, {n - 1: self._grammar.digit_ids[n - 1] for n in items}, most)
        device = scorer.digit_bias.device
        allowed = torch.tensor([[number in items for number in range(1, most + 1)]], device=device)
        verbs = torch.tensor([VERBS.index(verb)], device=device)
        shares = scorer.calibrated_targets(scores.to(device), verbs, allowed)[0].exp().cpu().numpy()
        return draw_index(shares, request.uniforms[1]) + 1

    @staticmethod
    def _scores(
        interface: Completions, model: str, prompt: Sequence[int], labels: Mapping[int, int], places: int
    ) -> Tensor:  # fmt: skip
        """Log-probabilities of labels, given by their place, shape [1, places]; where one is possible, none is asked.

        Raises:
            ServerError: As `Completions.label_logprobs`.
        """
        scores = torch.full((1, places), -torch.inf)
        logprobs = interface.label_logprobs(model, prompt, list(labels.values())) if len(labels) > 1 else [0.0]
        scores[0, list(labels)] = torch.tensor(logprobs)
        if not scores.isfinite().any():
            raise ServerError("the server says that no allowed label is possible")
        return scores


def served_description(
    name: str, version: str, interface: Completions | Chat, adapters_per_batch: int | None = None
) -> EngineDescription:
    """What a served engine says of itself: what else is in a server's batch moves the last bits of its answers."""
    exactness = interface.exactness if isinstance(interface, Completions) else Exactness.SAMPLE_ONLY
    return EngineDescription(name, version, exactness, adapters_per_batch, deterministic=False, dtype="")
