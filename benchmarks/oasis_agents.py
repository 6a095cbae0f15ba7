"""A world of OASIS in which every agent has a model of its own; run by `benchmarks.oasis_demo` in OASIS's environment.

Prints a line about each timestep, and at the end one of JSON: seconds, and what came of every request.
"""

import argparse
import asyncio
import json
import os
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

# OASIS logs into ./log of the working folder from its import on, and looks for its models on the network.
Path("log").mkdir(exist_ok=True)
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import oasis  # noqa: E402
from camel.memories import ChatHistoryMemory, ScoreBasedContextCreator  # noqa: E402
from camel.models import ModelFactory, ModelManager  # noqa: E402
from camel.types import ModelPlatformType  # noqa: E402
from camel.utils import BaseTokenCounter  # noqa: E402
from oasis import ActionType, LLMAction, ManualAction  # noqa: E402

SEED_POSTS = (
    "Good morning! What is the best thing that you ate this week?",
    "The council wants to close the old library. Should it?",
    "My phone broke on the first day of the holidays. Any advice?",
)
# No agent's memory is cut by tokens: camel would cut messages into pieces.
UNLIMITED = 999_999_999


class CharacterCounter(BaseTokenCounter):  # type: ignore[misc]
    """Counts four characters as a token: camel's own counter loads a tokenizer from the network."""

    def count_tokens_from_messages(self, messages: list[dict[str, object]]) -> int:
        """Tokens of all messages."""
        return sum(len(str(message.get("content") or "")) for message in messages) // 4

    def encode(self, text: str) -> list[int]:
        """Stand-ins for token ids."""
        return [0] * (len(text) // 4)

    def decode(self, token_ids: list[int]) -> str:
        """Nothing can be decoded."""
        return ""


def served_models(url: str, key: str) -> list[str]:
    """All adapters that a server offers, without the base model."""
    names: list[str] = []
    after = ""
    while True:
        request = urllib.request.Request(f"{url}/models?limit=1000{after}", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request) as response:
            page = json.load(response)
        names += [entry["id"] for entry in page["data"] if entry.get("parent")]
        if not page.get("has_more"):
            return names
        after = f"&after={page['last_id']}"


def _give_models(agents, models: Sequence[str], asked: argparse.Namespace, key: str) -> list[dict]:  # type: ignore
    """Let each agent speak to its own model, and remember its last turns; returns each one's fields of requests."""
    counter, fields = CharacterCounter(), []
    for number, agent in enumerate(agents):
        backend = ModelFactory.create(
            model_platform=ModelPlatformType.OPENAI_COMPATIBLE_MODEL, model_type=models[number % len(models)],
            url=asked.url, api_key=key, token_counter=counter, timeout=asked.timeout, max_retries=0,
        )  # fmt: skip
        fields.append(backend.model_config_dict)
        agent.model_backend = ModelManager([backend])
        agent.memory = ChatHistoryMemory(
            ScoreBasedContextCreator(counter, UNLIMITED), window_size=asked.window, agent_id=agent.agent_id
        )
    return fields


def _count_outcomes(agents, outcomes: Counter) -> None:  # type: ignore
    """Count what comes of each request; OASIS itself drops what its agents return, errors among it."""

    def watched(act):  # type: ignore
        async def acting():  # type: ignore
            answer = await act()
            outcomes[_outcome(answer)] += 1
            return answer

        return acting

    for agent in agents:
        agent.perform_action_by_llm = watched(agent.perform_action_by_llm)


def _outcome(answer: object) -> str:
    if isinstance(answer, Exception):
        return f"request failed: {type(answer).__name__}: {answer}"[:200]
    calls = answer.info["tool_calls"] if answer is not None else []  # type: ignore[attr-defined]
    if not calls:
        return "no call"
    result = calls[0].result
    if not isinstance(result, dict):
        return f"call failed: {result}"[:200]
    return (
        "done" if result.get("success") else f"refused by OASIS: {result.get('error') or result.get('message')}"[:200]
    )


def _platform(kind: str, database: str):  # type: ignore
    if kind == "reddit":
        return oasis.DefaultPlatformType.REDDIT
    # OASIS's default recommender of Twitter would load a model of 1.1 GB from the network.
    return oasis.Platform(
        db_path=database, channel=oasis.social_platform.Channel(), recsys_type="random",
        refresh_rec_post_count=2, max_rec_post_len=2, following_post_count=3,
    )  # fmt: skip


async def _main(asked: argparse.Namespace) -> None:
    key = os.environ.get("POLYPHONY_API_KEY") or "none"
    models = ["base"] if asked.base else served_models(asked.url, key)
    is_reddit = asked.platform == "reddit"
    generate = oasis.generate_reddit_agent_graph if is_reddit else oasis.generate_twitter_agent_graph
    acts = ActionType.get_default_reddit_actions() if is_reddit else ActionType.get_default_twitter_actions()
    first = ModelFactory.create(
        model_platform=ModelPlatformType.OPENAI_COMPATIBLE_MODEL, model_type=models[0], url=asked.url, api_key=key,
        token_counter=CharacterCounter(),
    )  # fmt: skip
    graph = await generate(profile_path=asked.people, model=first, available_actions=acts)
    agents = [agent for _, agent in graph.get_agents()][: asked.agents]
    fields, outcomes = _give_models(agents, models, asked, key), Counter()
    _count_outcomes(agents, outcomes)
    env = oasis.make(
        agent_graph=graph, platform=_platform(asked.platform, asked.database), database_path=asked.database
    )
    await env.reset()
    seeds = zip(agents, SEED_POSTS, strict=False)
    await env.step({agent: ManualAction(ActionType.CREATE_POST, {"content": text}) for agent, text in seeds})
    seconds = []
    for step in range(asked.steps):
        for number, field in enumerate(fields):
            field["seed"] = step * len(agents) + number
        began = time.perf_counter()
        await env.step({agent: LLMAction() for agent in agents})
        seconds.append(round(time.perf_counter() - began, 1))
        print(f"timestep {step}: {len(agents)} requests, {seconds[-1]} s", flush=True)
    await env.close()
    figures = {"agents": len(agents), "models": len(set(models[: len(agents)])), "seconds": seconds}
    print(json.dumps({**figures, "outcomes": outcomes, "version": version("camel-oasis")}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--platform", choices=["reddit", "twitter"], default="reddit")
    parser.add_argument("--people", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--base", action="store_true", help="all agents speak to the bare base model")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--agents", type=int, help="only the first agents act")
    parser.add_argument(
        "--window", type=int, default=4, help="entries of its memory that an agent sends: a timestep makes 4"
    )
    parser.add_argument("--timeout", type=float, default=86_400.0)
    random.seed(0)  # OASIS draws from the global generator what it recommends
    asyncio.run(_main(parser.parse_args()))
