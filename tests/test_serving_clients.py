"""The clients that people have already, unchanged, against a real server: the openai package and camel-ai."""

import asyncio
import json

import httpx
import pytest
from serving_factory import ADA, BEN, TOOLS, ready_bank, served

from polyphony.simulation.serving.server import Capacity

openai = pytest.importorskip("openai", reason="openai comes with camel-ai: pip install 'polyphony-sim[camel]'")

FEED = 'You see [{"post_id": 41, "user_id": 3, "content": "tea?"}, {"post_id": 57, "user_id": 5, "content": "no"}]'
HELLO = [{"role": "user", "content": "Hello"}]
QUEUE = 8


@pytest.fixture(scope="module")
def server(base, tmp_path_factory):
    bank = ready_bank(tmp_path_factory.mktemp("clients") / "bank")
    with served(base, bank, Capacity(rows=8, context=1024, queue=QUEUE)) as server:
        yield server


@pytest.fixture
def client(server):
    with (
        httpx.Client(trust_env=False) as transport,
        openai.OpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120, http_client=transport
        ) as client,
    ):
        yield client


def ask(client, content=FEED, **fields):
    fields = {"model": ADA, "seed": 1, "max_tokens": 8, **fields}
    return client.chat.completions.create(messages=[{"role": "user", "content": content}], **fields)


def test_models_are_listed_and_one_is_looked_up(client):
    names = [model.id for model in client.models.list()]
    assert {"base", ADA, BEN} < set(names)
    assert client.models.retrieve(ADA).id == ADA


def test_a_chat_is_answered_whole_and_as_a_stream(client):
    whole = ask(client, "Hello").choices[0]
    parts = [part.choices[0] for part in ask(client, "Hello", stream=True)]
    assert whole.message.content == "".join(part.delta.content or "" for part in parts)
    assert len(parts) > 2 and parts[-1].finish_reason == whole.finish_reason


def test_a_completion_has_log_probabilities(client):
    choice = client.completions.create(model="base", prompt="One two", max_tokens=3, logprobs=2, seed=1).choices[0]
    assert len(choice.logprobs.token_logprobs) == 3 and choice.text


def test_a_call_is_read_whole_and_as_a_stream(client):
    named = {"type": "function", "function": {"name": "like_post"}}
    (call,) = ask(client, tools=TOOLS, tool_choice=named).choices[0].message.tool_calls
    assert call.function.name == "like_post" and json.loads(call.function.arguments)["post_id"] in (41, 57)
    with client.chat.completions.stream(
        model=ADA, messages=[{"role": "user", "content": FEED}], tools=TOOLS, tool_choice=named, seed=1, max_tokens=8
    ) as stream:
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed.function.arguments == call.function.arguments


def test_a_schema_is_followed(client):
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "vote", "schema": schema}}
    content = ask(client, "Tea?", response_format=wanted).choices[0].message.content
    assert isinstance(json.loads(content)["yes"], bool)


def test_eight_at_once_get_what_each_gets_alone(server, client):
    people = [ADA, BEN, "base", f"{ADA}@1"] * 2

    async def all_at_once():
        async with (
            httpx.AsyncClient(trust_env=False) as transport,
            openai.AsyncOpenAI(
                base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120, http_client=transport
            ) as at_once,
        ):
            return await asyncio.gather(
                *(
                    at_once.chat.completions.create(model=name, messages=HELLO, seed=number, max_tokens=8)
                    for number, name in enumerate(people)
                )
            )

    answers = [answer.choices[0].message.content for answer in asyncio.run(all_at_once())]
    alone = [ask(client, "Hello", model=name, seed=n).choices[0].message.content for n, name in enumerate(people)]
    assert answers == alone and len(set(answers)) > 4


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [({"model": "nobody"}, "NotFoundError", "'nobody' does not exist"),
     ({"temperature": 9}, "BadRequestError", "temperature"),
     ({"content": "word " * 2000}, "BadRequestError", "there is room for 1,024"),
     ({"n": QUEUE + 1}, "RateLimitError", "the queue is full")],
    ids=["unknown model", "bad value", "too long", "queue full"],
)  # fmt: skip
def test_refusals_are_the_clients_own_errors(client, fields, kind, words):
    with pytest.raises(getattr(openai, kind), match=words):
        ask(client, **fields)


def test_an_agent_of_camel_calls_a_function_that_is_then_executed(server, kit, monkeypatch):
    from camel.agents import ChatAgent
    from camel.toolkits import FunctionTool

    from polyphony.simulation.policies.camel_backend import served_backends

    liked = []

    def like_post(post_id: int) -> str:
        """Like a post.

        Args:
            post_id (int): Which post.
        """
        liked.append(post_id)
        return "liked"

    monkeypatch.setenv("OPENAI_COMPATIBILITY_API_KEY", "none")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    model = served_backends(f"openai-compatible-model/{ADA}", f"{server.url}/v1", kit)(None)
    model.model_config_dict.update(tool_choice="required", seed=3)
    agent = ChatAgent("You are a member of a forum.", model=model, tools=[FunctionTool(like_post)], max_iteration=1)
    response = agent.step(FEED)
    (record,) = response.info["tool_calls"]
    assert (record.tool_name, record.result, record.args["post_id"]) == ("like_post", "liked", liked[0])
    assert len(liked) == 1 and liked[0] in (41, 57)


def test_a_function_that_must_name_what_no_feed_shows_is_no_choice(client):
    """OASIS offers its agents to like a comment where there is none."""
    like_comment = {"type": "function", "function": {"name": "like_comment", "parameters": {
        "type": "object", "properties": {"comment_id": {"type": "integer"}}, "required": ["comment_id"]}}}  # fmt: skip

    def offered(content):
        return set(ask(client, content, tools=[*TOOLS, like_comment], logprobs=True).choices[0].function_logprobs)

    assert offered(FEED) == {"create_post", "like_post", "do_nothing"}
    assert "like_comment" in offered(f'{FEED} [{{"comment_id": 5}}]')
    assert "like_comment" in offered("Comment 5 says: tea!"), "what is no JSON is not looked through"
