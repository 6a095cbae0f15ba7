"""Timesteps of OASIS's own platform without a model; run by `benchmarks.oasis_floor` in OASIS's environment.

Everybody refreshes and does one act through the channel, as OASIS's agents do; then the recommendations are renewed.
A line of JSON says when a timestep begins (its seconds are null), and another what it took: seconds on the wall clock
and of the processor.
"""

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from importlib.metadata import version

AGENTS, STEPS, FOLLOWS = int(sys.argv[1]), int(sys.argv[2]), 15


async def _ask(channel, agent, message, action):  # type: ignore[no-untyped-def]
    number = await channel.write_to_receive_queue((agent, message, action))
    return (await channel.read_from_send_queue(number))[2]


async def _turn(channel, agent, action_type, draw):  # type: ignore[no-untyped-def]
    shown = await _ask(channel, agent, None, action_type.REFRESH)
    posts = [post["post_id"] for post in shown.get("posts", [])]
    what = draw.choice(["post", "comment", "like", "repost"]) if posts else "post"
    post = draw.choice(posts) if posts else 0
    if what == "post":
        await _ask(channel, agent, "eight words of nothing much at all here", action_type.CREATE_POST)
    elif what == "comment":
        await _ask(channel, agent, (post, "eight words of nothing much at all here"), action_type.CREATE_COMMENT)
    else:
        await _ask(channel, agent, post, action_type.LIKE_POST if what == "like" else action_type.REPOST)


async def _main() -> None:
    from oasis.clock.clock import Clock
    from oasis.social_platform.channel import Channel
    from oasis.social_platform.platform import Platform
    from oasis.social_platform.typing import ActionType

    draw, channel = random.Random(0), Channel()
    platform = Platform(
        "oasis.db", channel, sandbox_clock=Clock(60), recsys_type="random", refresh_rec_post_count=2,
        max_rec_post_len=20, following_post_count=3,
    )  # fmt: skip
    running = asyncio.create_task(platform.running())
    for agent in range(AGENTS):
        await platform.sign_up(agent, (f"p{agent}", f"p{agent}", ""))
    for agent in range(AGENTS):
        await platform.create_post(agent, "eight words of nothing much at all here")
    # OASIS's own act looks through all follows each time; what is timed only reads the table.
    follows = [
        (one, other, 0) for one in range(AGENTS) for other in draw.sample(range(AGENTS), FOLLOWS) if one != other
    ]
    platform.db_cursor.executemany(
        "INSERT INTO follow (follower_id, followee_id, created_at) VALUES (?, ?, ?)", follows
    )
    platform.db.commit()
    await platform.update_rec_table()
    for _ in range(STEPS):
        began = time.perf_counter(), time.process_time()
        print(json.dumps({"version": version("camel-oasis"), "seconds": None}), flush=True)
        await asyncio.gather(*(_turn(channel, agent, ActionType, draw) for agent in range(AGENTS)))
        await platform.update_rec_table()
        spent = [time.perf_counter() - began[0], time.process_time() - began[1]]
        print(json.dumps({"version": version("camel-oasis"), "seconds": spent}), flush=True)
    await channel.write_to_receive_queue((None, None, ActionType.EXIT))
    await running


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    asyncio.run(_main())
