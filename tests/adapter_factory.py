"""Random adapters that really change the model."""

import torch
from peft import LoraConfig, get_peft_model

from polyphony.adapters.model.head import Head
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.routing import route_of


def random_factors(adapted: AdaptedModel, seed: int, rank: int = 4) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return factors whose product is of the size that training reaches."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(rank, width_in, generator=random) * width_in**-0.5,
            torch.randn(width_out, rank, generator=random) * 0.05,
        )
        for name, (width_in, width_out) in adapted.sizes.items()
    }


def stacked(people: list[dict]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Stack people's factors: slot i is ``people[i]``."""
    return {
        name: (torch.stack([p[name][0] for p in people]), torch.stack([p[name][1] for p in people]))
        for name in people[0]
    }


def logits_under_peft(base, people, prompts, rank: int = 4, alpha: float = 8) -> list[torch.Tensor]:
    """Logits after each prompt and after each token that follows it, under PEFT with one person's adapter at a time.

    Args:
        base: The base model.
        people: Each one's factors.
        prompts: Each one's prompt and the tokens that follow, all tokens at least 0.
        rank: Rank of the factors.
        alpha: The update is scaled by alpha / rank.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=sorted(people[0]), task_type="CAUSAL_LM")
    peft = get_peft_model(base.model, config)
    layers = {name: peft.base_model.model.get_submodule(name) for name in people[0]}
    found = []
    try:
        for factors, (prompt, following) in zip(people, prompts, strict=True):
            for name, (a, b) in factors.items():
                layers[name].lora_A["default"].weight.data = a
                layers[name].lora_B["default"].weight.data = b
            with torch.no_grad():
                logits = peft(torch.tensor([[*prompt, *following]])).logits[0]
            found.append(logits[len(prompt) - 1 :])
    finally:
        peft.unload()
    return found


def logits_in_one_batch(engine, prompts, slots, skip: int = 0) -> torch.Tensor:
    """The same by the engine, all rows in one batch, shape [rows, following + 1, vocabulary].

    Args:
        engine: The engine.
        prompts: Each row's prompt and the tokens that follow, as many in every row.
        slots: Slot of each row.
        skip: How many first tokens of the first prompt are remembered; of the others up to two more.
    """
    head = Head(engine.runner.base)
    reused = [skip and skip + number % 3 for number in range(len(slots))]
    texts = [prompt for prompt, _ in prompts]
    if skip:
        engine.cache_prefixes([(slot, text[:count]) for slot, text, count in zip(slots, texts, reused, strict=True)])
    prefixes = [engine.prefixes.get(slot, text[:count]) for slot, text, count in zip(slots, texts, reused, strict=True)]
    assert all((prefix is not None) == bool(skip) for prefix in prefixes)
    steps = len(prompts[0][1])
    engine.runner.store.reserve(len(slots), max(len(prompt) for prompt, _ in prompts) + steps)
    hidden, firsts, begin = engine.runner.read(texts, slots, slice(0, len(slots)), prefixes)
    ends = [begin + len(prompt) - count for (prompt, _), count in zip(prompts, reused, strict=True)]
    states = [hidden]
    for step in range(steps):
        fed = [following[step] for _, following in prompts]
        states.append(engine.runner.append(fed, firsts, [end + step for end in ends], route_of(slots)))
    return torch.stack([head(state) for state in states], dim=1)
