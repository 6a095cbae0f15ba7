"""Three people's examples and a short training on them."""

from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.examples import ExampleBuilder
from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.prompting.scoring import Scoring
from polyphony.adapters.training.population_training import split_for
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.trainer import Learner, PopulationTrainer
from polyphony.simulation.history.replay import ReplayedHistory

SHAPE = LoraShape(rank=2, alpha=4, top_blocks=2)
SCHEDULE = Schedule(lr=1e-3, epochs=2, warmup_steps=2)


_HISTORIES = {}


def replayed(population, config=None, items=4):
    """The history of a population, replayed; what one test works out, the others of its process find."""
    key = (id(population), config or HistoryConfig(), items)
    if key not in _HISTORIES:
        _HISTORIES[key] = population, ReplayedHistory(population, key[1], items=items)
    return _HISTORIES[key][1]


def three_learners(kit, town):
    """Three people with unequal numbers of short examples, two of them with validation examples."""
    builder = ExampleBuilder(town.acts, kit.builder, replayed(town, items=1))
    made = []
    for persona, count in zip(town.personas[:3], (3, 4, 2), strict=True):
        examples = builder.examples(persona, persona.train, prompt_persona=False)[: count + 1]
        made.append(Learner(persona.handle, examples[:count], examples[count:] if count != 2 else ()))
    return made


def train(base, kit, learners, schedule=SCHEDULE, seed=3):
    """Train them together."""
    with AdaptedModel(base, SHAPE) as adapted:
        scoring = Scoring(adapted, split_for(base, SHAPE), kit.scorer)
        return PopulationTrainer(scoring, learners, schedule, seed=seed).train()


def farthest(one, other):
    """Largest relative distance between two people's factors, layer by layer."""
    return max(
        float((one.factors[name][side] - other.factors[name][side]).norm() / other.factors[name][side].norm())
        for name in one.factors
        for side in (0, 1)
    )


def tiny_model(base, folder):
    """A small model with random weights and the base's tokenizer, so that training takes seconds."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(base.tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder
