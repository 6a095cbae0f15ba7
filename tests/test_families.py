"""Base models of other families, loaded from a directory: PEFT, the engine and the trainer agree on them too."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from adapter_factory import logits_in_one_batch, logits_under_peft, random_factors, stacked
from peft import PeftModel
from short_base import base, kit, learners  # noqa: F401 - fixtures
from training_factory import SHAPE as TRAINED
from training_factory import farthest, replayed, train
from transformers import AutoModelForCausalLM, Gemma2Config, GPTNeoXConfig, Qwen3Config

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.interchange import card_of, export_directory
from polyphony.adapters.bank.stacking import complete, covering_shape, install
from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import Route
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring, possible_verbs
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining, split_for
from polyphony.adapters.training.schedule import Schedule
from polyphony.adapters.training.starts import INITS
from polyphony.errors import InputError
from polyphony.personas.people.acts import USUAL, Verb
from polyphony.randomness import keyed_generator

SHAPE = LoraShape(rank=4, alpha=8, top_blocks=3)
FEED = [FeedItem("bob", "the harbour is closed again"), FeedItem("eve", "who took my bike?")]
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
FAMILIES = {
    "qwen3": lambda words: Qwen3Config(vocab_size=words, num_key_value_heads=2, head_dim=16, **SIZES),
    "gpt_neox": lambda words: GPTNeoXConfig(vocab_size=words, **SIZES),
    "gemma2": lambda words: Gemma2Config(vocab_size=words, num_key_value_heads=2, head_dim=16, **SIZES),
}


def saved(base, family, folder, **changes):
    """A tiny model of a family, with the words of the embedded one, by way of a directory."""
    config = FAMILIES[family](len(base.tokenizer))
    config.update(changes)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return load_base_model(folder, dtype="fp32")


@pytest.fixture(scope="module", params=FAMILIES)
def other(request, base, tmp_path_factory):
    return saved(base, request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def tiny(base, tmp_path_factory):
    """The first of them."""
    return saved(base, "qwen3", tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def its_kit(other):
    return make_prompt_kit(other, PromptConfig())


@pytest.mark.parametrize("skip", [0, 5])
def test_a_mixed_batch_equals_peft_one_by_one(other, its_kit, skip):
    drawn = torch.randint(5, 40_000, (6, 18), generator=torch.Generator().manual_seed(4)).tolist()
    prompts = [(row[: 15 - number % 4], row[15:]) for number, row in enumerate(drawn)]
    with AdaptedModel(other, SHAPE) as adapted:
        people = [random_factors(adapted, seed) for seed in range(6)]
    alone = logits_under_peft(other, people, prompts)
    with AdaptedModel(other, SHAPE) as adapted, torch.no_grad():
        adapted.set_stack(stacked(people), SHAPE.scale)
        logits = logits_in_one_batch(Engine(other, adapted, its_kit), prompts, list(range(6)), skip)
    for number, (ours, theirs) in enumerate(zip(logits, alone, strict=True)):
        assert float((ours - theirs).abs().max()) <= 1e-3, number
    assert float((alone[0][0] - logits_under_peft(other, [people[1]], prompts[:1])[0][0]).abs().max()) > 0.01


def test_training_and_engine_agree_and_what_was_learned_is_in_the_factors(other, its_kit, learners):
    """Fused is like alone, the loss falls, and trained factors give the engine the trainer's probabilities."""
    together = train(other, its_kit, learners)
    for number, learner in enumerate(learners):
        (alone,) = train(other, its_kit, [learner])
        assert farthest(together[number], alone) <= 1e-3
    with AdaptedModel(other, TRAINED) as adapted:
        adapted.set_stack(stacked([trained.factors for trained in together]), TRAINED.scale)
        scoring = Scoring(adapted, split_for(other, TRAINED), its_kit.scorer)
        engine = Engine(other, adapted, its_kit)
        for slot, learner in enumerate(learners):
            store = ExampleStore(scoring.split, learner.train)
            rows = range(len(store.rows))
            with torch.no_grad():
                learned = scoring.nll(store, rows, [slot] * len(rows))
                plain = scoring.nll(store, rows, None)
            assert float((learned.loss(1.0) - plain.loss(1.0)).sum()) < 0
            for place, member in enumerate(store.members(rows)):
                example = learner.train[member]
                possible = dict(zip(VERBS, possible_verbs(example), strict=True))
                numbers = list(range(1, example.items + 1))
                targets = {verb: numbers if verb.has_target else [] for verb in USUAL if possible[verb]}
                prompt = example.tokens[: example.prompt_length]
                (choice,) = engine.decide([ActRequest(slot, prompt, targets, 2, np.full(64, 0.5))])
                assert -np.log(choice.distribution[example.verb]) == pytest.approx(float(learned.verb[place]), abs=1e-3)


def test_a_mixed_batch_writes_what_each_agent_writes_alone(other, its_kit):
    everything = {verb: [1, 2] if verb.has_target else [] for verb in USUAL}
    with AdaptedModel(other, SHAPE) as adapted:
        adapted.set_stack(stacked([random_factors(adapted, seed) for seed in range(3)]), SHAPE.scale)
        engine = Engine(other, adapted, its_kit)
        asked = [
            ActRequest(slot, its_kit.builder.prompt(f"agent{number}", None, FEED), everything, 8,
                       keyed_generator(7, "test", number).random(64))
            for number, slot in enumerate((0, 1, 2, None, 1, 0))
        ]  # fmt: skip
        together = engine.decide(asked)
        for single, choice in zip(asked, together, strict=True):
            (alone,) = engine.decide([single])
            assert (choice.verb, choice.position, choice.text) == (alone.verb, alone.position, alone.text)


@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("init", INITS)
def test_what_any_start_led_to_is_a_plain_adapter_of_peft(tiny, town, tmp_path, init, rank):
    """Trained over a prior from every start, exported, and read by PEFT: the same logits as in a mixed batch."""
    config = replace(
        TrainingConfig(), prior_examples=8, max_examples=4, init=init,
        prior_shape=LoraShape(rank=2, alpha=4, top_blocks=3), shape=LoraShape(rank, 2.0 * rank, top_blocks=2),
        schedule=Schedule(lr=1e-2, epochs=1, warmup_steps=0), pointer_people=4,
    )  # fmt: skip
    people, tokens = town.personas[:2], torch.randint(5, 40_000, (1, 12), generator=torch.Generator().manual_seed(1))
    with closing(Bank(tmp_path / "bank", create=True)) as bank, torch.no_grad():
        with torch.enable_grad():
            made = PopulationTraining(
                tiny, make_prompt_kit(tiny, config.prompt), town, bank, config, replayed(town)
            ).personal(people)
        plain = tiny.model(tokens).logits
        with AdaptedModel(tiny, covering_shape(bank, made)) as adapted:
            install(adapted, bank, made)
            with adapted.routed(Route(torch.arange(2))):
                mixed = tiny.model(tokens.expand(2, -1)).logits
        for place, revision in enumerate(made):
            folder = tmp_path / str(place)
            export_directory(folder, complete(bank, revision), base_name="tiny", card=card_of(revision))
            peft = PeftModel.from_pretrained(tiny.model, folder)
            alone = peft(tokens).logits
            peft.unload()
            assert float((mixed[place] - alone[0]).abs().max()) <= 1e-3
    assert float((mixed - plain).abs().amax(dim=(1, 2)).min()) > 5e-3 < float((mixed[0] - mixed[1]).abs().max())


def test_a_prompt_beyond_a_sliding_window_is_refused(base, tmp_path):
    """Blocks that see only a window would be run as if they saw everything."""
    sliding = saved(base, "gemma2", tmp_path, sliding_window=40)
    assert sliding.context == 40
    kit = make_prompt_kit(sliding, PromptConfig(feed_items=1, item_tokens=4))
    with pytest.raises(InputError, match=r"takes \d+ tokens, .* reads 40"):
        Engine(sliding, None, kit).decide([ActRequest(None, [*range(5, 45)], {Verb.POST: []}, 8, np.full(64, 0.5))])
