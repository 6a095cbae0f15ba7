"""The engine: many agents, each with its own adapter, decide what to do in one batch."""

from collections.abc import Sequence
from importlib.metadata import version

import torch

from polyphony.adapters.engine.act_batch import ActBatch
from polyphony.adapters.engine.acts import ActChoice, ActRequest
from polyphony.adapters.engine.decoding import TextSampler
from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.engine.interface import EngineDescription, Exactness
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.engine.prefix_cache import PrefixCache
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.memory import TokenBudget, at_once, budget_on, out_of_memory
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.errors import PolyphonyError

# Rows that are in work at once.
ROWS = {"cpu": 64, "gpu": 512}


class Engine:
    """Answers act requests of any mix of adapters over one frozen base.

    Prompts are read in batches of similar length; from then on every row is at its own point of its act (verb,
    target, text), one token a pass, and rows that end make room for waiting requests at once.
    """

    def __init__(
        self,
        base: BaseModel,
        adapted: AdaptedModel | None,
        kit: PromptKit,
        *,
        decoding: DecodingConfig | None = None,
        max_rows: int | None = None,
        token_budget: int | None = None,
        prefix_bytes: int = 512 << 20,
    ) -> None:
        """Use the factors installed in `adapted`; None runs the bare base alone.

        Args:
            base: The base model.
            adapted: Its adapted layers with the factors.
            kit: Prompt builder and act scorer.
            decoding: How text is drawn.
            max_rows: Most rows in work at once; None for what suits the device.
            token_budget: Most padded prompt tokens read in one pass; None for what suits the device.
            prefix_bytes: Most memory of cached prefixes.
        """
        budget = TokenBudget(token_budget) if token_budget else budget_on(base.device)
        self.kit, self.max_rows = kit, max_rows or at_once(base.device, **ROWS)
        self.sampler = TextSampler(base.tokenizer, kit.builder.grammar, decoding or DecodingConfig())
        self.runner = ModelRunner(base, adapted, budget)
        self.prefixes = PrefixCache(self.runner, prefix_bytes)

    def describe(self) -> EngineDescription:
        """It knows every probability, and repeats itself: same seed, machine and threads, same acts."""
        return described(self.runner.base, self.max_rows)

    def close(self) -> None:
        """Nothing is open."""

    @torch.no_grad()
    def decide(self, requests: Sequence[ActRequest]) -> list[ActChoice]:
        """Decide for all agents; answers come in the order of the requests.

        Raises:
            InputError: A prompt with its act does not fit the base model's context.
            PolyphonyError: Not even one prompt fits into memory.
            ValueError: A verb is asked for that the prompts do not name.
        """
        check_requests(requests, self.kit, self.runner.base)
        self.prefixes.drop_stale()
        batch = ActBatch(requests, self.runner, self.prefixes, self.kit, self.sampler, self.max_rows)
        self.runner.store.reserve(min(self.max_rows, len(requests)), batch.columns)
        try:
            while batch.unfinished:
                batch.advance()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise PolyphonyError(
                f"out of memory with {self.max_rows} agents writing at once; use fewer agents, a smaller base model "
                "or a machine with more memory"
            ) from error
        return batch.choices()

    def cache_prefixes(self, prefixes: Sequence[tuple[int | None, Sequence[int]]]) -> None:
        """Compute the constant part of prompts once, as far as memory allows.

        Args:
            prefixes: Slot and first tokens of each; `ActRequest.constant` says how many they are of a prompt.
        """
        self.prefixes.compute(prefixes)


def described(base: BaseModel, max_rows: int | None = None) -> EngineDescription:
    """What an engine over a base model says of itself; the arguments are those of `Engine`."""
    return EngineDescription(
        name="local", version=version("polyphony-sim"), exact_choice=Exactness.EXACT,
        adapters_per_batch=max_rows or at_once(base.device, **ROWS), deterministic=True, dtype=base.dtype,
    )  # fmt: skip


def check_requests(requests: Sequence[ActRequest], kit: PromptKit, base: BaseModel) -> None:
    """Refuse what no engine over this base can answer.

    Raises:
        InputError: A prompt with its act does not fit the base model's context.
        ValueError: A verb is asked for that the prompts do not name.
    """
    unnamed = sorted({verb for request in requests for verb in request.targets} - set(kit.config.verbs))
    if unnamed:
        raise ValueError(f"prompts do not name {', '.join(unnamed)}: add them to PromptConfig.verbs")
    base.check_context(max((request.most_tokens for request in requests), default=0))
