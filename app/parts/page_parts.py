"""Parts that all pages share: titles, notes, tables and charts that can be downloaded."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import streamlit as st

from polyphony.app.parts.escape import file_name, markup, plain
from polyphony.spreadsheet_cells import escaped

# Keys of the session state that several pages read; the first three stand in the address, too.
PAGE = "page"
CHOSEN_RUN = "run"
AGENT = "agent"
PICTURE = "picture"
DEMONSTRATION = "demonstration"

TableRow = Mapping[str, Any]

if TYPE_CHECKING:
    import plotly.graph_objects as go


def block(body: str) -> None:
    """Put HTML of our own on the page; every foreign text in it must have gone through `markup`."""
    st.html(f'<div class="pp">{body}</div>')


def title(text: str, lead: str) -> None:
    """A page's title and the sentence under it; both are our own words, or have gone through `markup`."""
    block(f'<h1>{text}</h1><p class="lead">{lead}</p>')


def heading(text: str, note: str) -> None:
    """A section's title and the sentence that says how to read it; both are our own words."""
    block(f'<h2>{text}</h2><p class="note">{note}</p>')


def note(text: str) -> None:
    """A remark of our own, or one that has gone through `markup`."""
    block(f'<p class="note">{text}</p>')


def notice(text: str) -> None:
    """A message about the user's files, shown as plain text."""
    block(f'<div class="notice words">{markup(text)}</div>')


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values side by side, shown as plain text."""
    cells = [f"<div><span>{markup(name)}</span><b><bdi>{markup(value)}</bdi></b></div>" for name, value in pairs]
    block(f'<div class="facts">{"".join(cells)}</div>')


def arm_name(arm: str, colour: str) -> str:
    """An arm's name with its colour, as HTML."""
    return f'<span class="arm"><span class="dot" style="background:{colour}"></span><bdi>{markup(arm)}</bdi></span>'


def table(
    rows: Sequence[TableRow],
    name: str,
    height: int | Literal["auto"] = "auto",
    download: Sequence[TableRow] | None = None,
) -> None:
    """A table that can be sorted, searched and downloaded as CSV or Parquet.

    Args:
        rows: Rows with the same columns; texts in them are shown as plain text.
        name: Of the files to download.
        height: Of the table in pixels; "auto" for as many as its rows need.
        download: Rows of the files to download, where they differ from those that are shown: a file holds numbers where
            the page shows texts.
    """
    downloaded = rows if download is None else download
    safe_rows = [{key: plain(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
    st.dataframe(pd.DataFrame(safe_rows), hide_index=True, height=height)
    stem = file_name(name)
    with st.container(horizontal=True):
        st.download_button(
            "CSV", lambda: _csv(downloaded), f"{stem}.csv", "text/csv",
            key=f"csv {name}", type="tertiary", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "Parquet", lambda: _parquet(downloaded), f"{stem}.parquet", "application/vnd.apache.parquet",
            key=f"parquet {name}", type="tertiary", on_click="ignore",
        )  # fmt: skip


def _csv(rows: Sequence[TableRow]) -> bytes:
    """The table, with no text that a spreadsheet would run, see `polyphony.spreadsheet_cells`."""
    safe_rows = [{escaped(key): escaped(value) if isinstance(value, str) else value for key, value in row.items()}
                 for row in _encodable(rows)]  # fmt: skip
    return pd.DataFrame(safe_rows).to_csv(index=False).encode()


def _encodable(rows: Sequence[TableRow]) -> list[TableRow]:
    """The rows with ``?`` for half an emoji, which no file can hold."""
    return [
        {
            key: value.encode(errors="replace").decode() if isinstance(value, str) else value
            for key, value in row.items()
        }
        for row in rows
    ]


def _parquet(rows: Sequence[TableRow]) -> bytes:
    file = io.BytesIO()
    pd.DataFrame(_encodable(rows)).to_parquet(file, index=False)
    return file.getvalue()


def chart(
    figure: "go.Figure", name: str, alt: str, *, zoom: bool = False, key: str | None = None, **options: Any
) -> Any:
    """A figure with a button that saves it as SVG or PNG, as the sidebar says.

    Args:
        figure: The figure.
        name: Of the file to save.
        alt: What the figure shows, for those who cannot see it.
        zoom: Whether the wheel zooms.
        key: Of the widget; default the name.
        options: More of `st.plotly_chart`.
    """
    kind = str(st.session_state.get(PICTURE, "SVG")).lower()
    config = {
        "displaylogo": False, "scrollZoom": zoom,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
        "toImageButtonOptions": {"format": kind, "filename": file_name(name), "scale": 1 if kind == "svg" else 2},
    }  # fmt: skip
    return st.plotly_chart(figure, config=config, key=key or name, alt=alt, **options)
