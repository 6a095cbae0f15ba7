"""Which of a table's columns are likely ours, by names that are common elsewhere; only said, never assumed."""

from collections.abc import Mapping, Sequence

COMMON: Mapping[str, tuple[str, ...]] = {
    "author": ("user", "username", "user_name", "screen_name", "user.screen_name", "handle", "account"),
    "id": ("tweet_id", "post_id", "status_id", "id_str", "url"),
    "created_at": ("date", "datetime", "timestamp", "time", "created", "createdat", "published_at"),
    "text": ("full_text", "content", "tweet", "body", "message", "post"),
}
_EXAMPLE = "author=user,text=content"


def likely_columns(
    given: Mapping[str, str], missing: Sequence[str], wanted: Sequence[str], names: Sequence[str]
) -> str:
    """Return what to write after ``--columns``.

    Args:
        given: What the user has written there already, which stays.
        missing: Our columns that the table must have and lacks.
        wanted: Those, and others that it would be good to have.
        names: The table's columns.

    Returns:
        ``author=user,text=full_text`` by the table's own columns, or an example where one of `missing` is not there.
    """
    likely = {name: column for name in wanted if (column := _likely(name, names)) is not None}
    if not all(name in likely for name in missing):
        return _EXAMPLE
    return ",".join(f"{name}={column}" for name, column in {**given, **likely}.items())


def _likely(name: str, names: Sequence[str]) -> str | None:
    """The table's column that is commonly called so, in the order of `COMMON`; None without one."""
    written = {column.casefold(): column for column in names}
    return next((written[column] for column in (name, *COMMON[name]) if column in written), None)
