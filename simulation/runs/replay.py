"""Rebuilds the platform as it was at a timestep, from the trace: what was undone later is in place again."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from polyphony.simulation.world.actions import ACTIONS, Action
from polyphony.simulation.world.memory import REMEMBERED
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform
from polyphony.simulation.world.rows import Rows


def replay(platform: Platform, tables: Rows, before: int) -> None:
    """Repeat on an empty platform all acts before a timestep; rows get the numbers that they had.

    Args:
        platform: Without acts, with its users and products.
        tables: Rows of the run, `trace` among them, in the order of their keys.
        before: The first timestep that is not repeated.

    Raises:
        ValueError: The platform refuses an act of the trace.
    """
    reader = _TraceReader(tables)
    for row in tables["trace"]:
        if row["timestep"] >= before:
            break
        action, seed = reader.action(row)
        when = Moment(row["timestep"], datetime.fromisoformat(row["created_at"]))
        outcome = platform.act(row["user_id"], action, when, seed=seed)
        if outcome.refused:
            raise ValueError(f"trace {row['trace_id']}: {action.name} cannot be repeated: {outcome.refused}")


def recall(platform: Platform, tables: Rows) -> None:
    """Restore the memory of the users of a restored platform: what they did and what was done to them.

    Args:
        platform: As restored.
        tables: As for `replay`.
    """
    reader = _TraceReader(tables)
    for row in tables["trace"]:
        if row["action"] in REMEMBERED:
            platform.remember(row["user_id"], reader.action(row)[0], row["timestep"])


class _TraceReader:
    """Reads actions back: a row of the trace names rows of other tables, and these hold the texts."""

    def __init__(self, tables: Rows) -> None:
        self._posts = _by(tables["post"], "post_id")
        self._comments = _by(tables["comment"], "comment_id")
        self._groups = _by(tables["chat_group"], "group_id")
        self._messages = _by(tables["group_messages"], "message_id")
        self._products = _by(tables["product"], "product_id")
        self._reports = {(row["user_id"], row["post_id"]): row["report_reason"] for row in tables["report"]}

    def action(self, row: Mapping[str, Any]) -> tuple[Action, bool]:
        """The action of one row of `trace`, and whether it made a seed post."""
        name, info = row["action"], _info(row)
        kind, seed = ACTIONS[name], False
        fields: dict[str, Any] = dict(info)
        if name in ("create_post", "quote_post", "repost"):
            post = self._posts[info["post_id"]]
            seed = bool(post["is_seed"])
            fields = {"content": post["content"], "quote_content": post["quote_content"],
                      "post_id": info.get("original_post_id")}  # fmt: skip
        elif name == "create_comment":
            comment = self._comments[info["comment_id"]]
            fields |= {"content": comment["content"], "parent_comment_id": comment["parent_comment_id"]}
        elif name == "report_post":
            fields["report_reason"] = self._reports[row["user_id"], info["post_id"]]
        elif name == "create_group":
            fields["group_name"] = self._groups[info["group_id"]]["name"]
        elif name == "send_to_group":
            fields["message"] = self._messages[info["message_id"]]["content"]
        elif name == "purchase_product":
            fields["product_name"] = self._products[info["product_id"]]["product_name"]
        return kind.model_validate({field: fields[field] for field in kind.model_fields}), seed


def _info(row: Mapping[str, Any]) -> dict[str, Any]:
    info = row["info"]
    return dict(json.loads(info)) if isinstance(info, str) else dict(info)


def _by(rows: Iterable[Mapping[str, Any]], key: str) -> dict[int, Mapping[str, Any]]:
    return {row[key]: row for row in rows}
