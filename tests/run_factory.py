"""Hand-made run databases with known content."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import create_engine

from polyphony.simulation.runs.schema import metadata

TIME = "2026-03-02T08:00:00Z"


class RunFactory:
    """Collects rows and writes them as a run file; user n is agent n - 1, users past the agents are no agents.

    Every act also writes its activation, one timestep later than the agent's last one.
    """

    def __init__(self, agents: int, *, outsiders: int = 0, **run: Any) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in metadata.sorted_tables}
        self.timestep = dict.fromkeys(range(1, agents + 1), -1)
        settings = {
            "run_id": 1, "arm": "lora", "seed": 1, "agents": agents, "timesteps": 4, "status": "finished",
            "population": "town", "population_digest": "p1", "config": "{}", "versions": "{}",
        }  # fmt: skip
        self.rows["run"].append(settings | run)
        for step in range(settings["timesteps"] if "timesteps" not in run else run["timesteps"]):
            self.rows["checkpoint"].append({"timestep": step, "activations": 0})
        for user in range(1, agents + outsiders + 1):
            self._add_user(user, agent=user <= agents)

    def _add_user(self, user: int, *, agent: bool) -> None:
        self.rows["user"].append(
            {
                "user_id": user,
                "agent_id": user - 1 if agent else None,
                "user_name": f"user{user}",
                "name": f"User {user}",
                "bio": "",
                "created_at": TIME,
            }
        )
        if agent:
            self.rows["agent"].append(
                {
                    "agent_id": user - 1,
                    "handle": f"user{user}",
                    "persona": "likes tea",
                    "adapter_id": f"a{user}",
                    "revision": 1,
                    "community": None,
                }
            )

    def seed_post(self, user: int, text: str = "a seed") -> int:
        """A post from before the first timestep."""
        return self._post(user, text, is_seed=True, timestep=-1)

    def post(self, user: int, text: str = "some words here") -> int:
        """An original post."""
        step = self._step(user)
        post_id = self._post(user, text, timestep=step)
        self._activate(user, step, "post", post_id=post_id)
        return post_id

    def repost(self, user: int, original: int) -> int:
        """A repost."""
        step = self._step(user)
        post_id = self._post(user, "repeated", original_post_id=original, timestep=step)
        self._activate(user, step, "repost", target_post_id=original, post_id=post_id)
        return post_id

    def quote(self, user: int, original: int, text: str) -> int:
        """A quote."""
        step = self._step(user)
        post_id = self._post(user, "repeated", original_post_id=original, quote_content=text, timestep=step)
        self._activate(user, step, "quote", target_post_id=original, post_id=post_id)
        return post_id

    def comment(self, user: int, post_id: int, text: str = "an answer", parent: int | None = None) -> int:
        """A reply to a post, or to a comment under it."""
        step, comment_id = self._step(user), len(self.rows["comment"]) + 1
        row = {"comment_id": comment_id, "post_id": post_id, "user_id": user, "content": text, "timestep": step}
        self.rows["comment"].append(row | {"created_at": TIME, "parent_comment_id": parent})
        self._activate(
            user, step, "reply", target_post_id=post_id, target_comment_id=parent, comment_id=comment_id
        )  # fmt: skip
        return comment_id

    def like_comment(self, user: int, comment_id: int) -> None:
        """A like of a comment."""
        root = self.rows["comment"][comment_id - 1]["post_id"]
        number = len(self.rows["comment_like"]) + 1
        row = {"comment_like_id": number, "user_id": user, "comment_id": comment_id, "created_at": TIME}
        self.rows["comment_like"].append(row)
        self._activate(user, self._step(user), "like", target_post_id=root, target_comment_id=comment_id)

    def like(self, user: int, post_id: int) -> None:
        """A like."""
        self.rows["like"].append(
            {"like_id": len(self.rows["like"]) + 1, "user_id": user, "post_id": post_id, "created_at": TIME}
        )
        self._activate(user, self._step(user), "like", target_post_id=post_id)

    def nothing(self, user: int) -> None:
        """An activation that chose to do nothing."""
        self._activate(user, self._step(user), "nothing")

    def fail(self, user: int, outcome: str = "failed", reason: str = "no text") -> None:
        """An activation that did not end well."""
        self._activate(user, self._step(user), None, outcome=outcome, reason=reason)

    def follow(self, user: int, followee: int, timestep: int = 0) -> None:
        """A follow; timestep -1 is the starting graph. It writes no activation."""
        row = {"follow_id": len(self.rows["follow"]) + 1, "follower_id": user, "followee_id": followee}
        self.rows["follow"].append(row | {"created_at": TIME, "timestep": timestep})

    def act(self, user: int, act: str, **columns: Any) -> None:
        """An activation that ended well, and nothing else."""
        self._activate(user, self._step(user), act, **columns)

    def show(
        self, user: int, post_id: int, position: int = 1, comment_id: int | None = None, *, timestep: int = 0
    ) -> None:
        """A post, or a comment under it, in an agent's feed."""
        row = {
            "exposure_id": len(self.rows["exposure"]) + 1, "timestep": timestep, "agent_id": user - 1,
            "post_id": post_id,
        }  # fmt: skip
        shown = {"position": position, "source": "recommended", "score": 0.5, "comment_id": comment_id}
        self.rows["exposure"].append(row | shown)

    def history(self, user: int, split: str, text: str, act: str = "post", target: int | None = None) -> int:
        """Words from before the simulation; returns their number, which `target` names."""
        number = len(self.rows["history"]) + 1
        row = {"history_id": number, "agent_id": user - 1, "split": split, "act": act, "target_history_id": target}
        self.rows["history"].append(row | {"created_at": TIME, "text": text})
        return number

    def distribution(self, shares: dict[str, float]) -> None:
        """Give the last activation the policy's own distribution."""
        self.rows["activation"][-1]["act_distribution"] = json.dumps(shares)

    def write(self, path: Path) -> Path:
        """Write the file and return its path."""
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            metadata.create_all(connection)
            for table in metadata.sorted_tables:
                for _, rows in groupby(self.rows[table.name], key=tuple):
                    connection.execute(table.insert(), list(rows))
        engine.dispose()
        return path

    def _step(self, user: int) -> int:
        return self.timestep[user] + 1

    def _post(self, user: int, text: str, **columns: Any) -> int:
        post_id = len(self.rows["post"]) + 1
        row = {"post_id": post_id, "user_id": user, "content": text, "created_at": TIME, "is_seed": False}
        self.rows["post"].append(row | columns)
        return post_id

    def _activate(self, user: int, step: int, act: str | None, **columns: Any) -> None:
        self.timestep[user] = step
        row = {
            "activation_id": len(self.rows["activation"]) + 1, "timestep": step, "agent_id": user - 1,
            "adapter_id": f"a{user}", "revision": 1, "act": act, "outcome": "ok",
        }  # fmt: skip
        self.rows["activation"].append(row | columns)


def planted_run(agents: int = 24, steps: int = 6, **run: Any) -> RunFactory:
    """Two halves that write about different things and answer only their own half, with histories to match."""
    words = ("bread oven flour dough crust loaf", "engine wheel brake clutch motor piston")
    factory, rng = RunFactory(agents, timesteps=steps, **run), np.random.default_rng(7)

    def side(user: int) -> int:
        return int(user > agents // 2)

    def sentence(user: int, number: int) -> str:
        topic = words[side(user)].split()
        start = (user * 5 + number) % 6
        return f"my {topic[start]} and the {topic[(start + 1 + number) % 6]} today user{user} style{user}"

    posts = []
    for user in range(1, agents + 1):
        for number in range(4):
            factory.history(user, "held_out" if number == 3 else "train", sentence(user, number))
        posts.append(factory.post(user, sentence(user, 9)))
    for user in range(1, agents + 1):
        for step in range(1, steps):
            peer = int(rng.integers(agents // 2)) + 1 + side(user) * (agents // 2)
            stranger = int(rng.integers(agents // 2)) + 1 + (1 - side(user)) * (agents // 2)
            factory.show(user, posts[peer - 1], 1)
            factory.show(user, posts[stranger - 1], 2)
            if peer == user or step % 3 == 2:
                factory.nothing(user)
            else:
                factory.comment(user, posts[peer - 1], sentence(user, step))
            factory.distribution({"post": 0.25, "reply": 0.5, "nothing": 0.25})
    return factory
