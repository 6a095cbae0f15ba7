"""Parts of the Overview page's cards and of the Feed page's posts."""

import shlex
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from polyphony.app.parts.escape import markup
from polyphony.app.parts.page_parts import AGENT, CHOSEN_RUN, PAGE
from polyphony.app.parts.style import COMMUNITY_COLOURS
from polyphony.printable import path_word, printable

_MOST_BARS = 48


def open_page(page: str, run: str | None = None, agent: str | None = None) -> None:
    """Go to a page; for callbacks of buttons.

    Args:
        page: Its name.
        run: Name of the run to show in detail, see `Library.name_of`; None for the one that is shown now.
        agent: Handle of the agent to show; None for the one that is shown now.
    """
    st.session_state[PAGE] = page
    if run is not None:
        st.session_state[CHOSEN_RUN] = run
    if agent is not None:
        st.session_state[AGENT] = agent


def sparkline(values: Sequence[int], colour: str, what: str) -> str:
    """Numbers over time as small bars, as HTML; where there are more than fit, a bar is the mean of neighbours.

    Args:
        values: The numbers.
        colour: Of the bars.
        what: What the bars show; our own words.
    """
    means = [float(np.mean(part)) for part in np.array_split(values, min(len(values), _MOST_BARS))] if values else []
    highest = max(means, default=0.0) or 1.0
    bars = "".join(f'<span style="height:{100 * mean / highest:.0f}%;background:{colour}"></span>' for mean in means)
    label = f"{what}: {', '.join(f'{mean:.3g}' for mean in means)}"
    return f'<div class="spark" role="img" aria-label="{label}" title="{label}">{bars}</div>'


def avatar(handle: str) -> str:
    """A disc with an account's first letter, as HTML; its colour depends on the handle alone."""
    colour = COMMUNITY_COLOURS[zlib.crc32(handle.encode(errors="replace")) % len(COMMUNITY_COLOURS)]
    letter = next((letter for letter in handle if letter.isalnum()), "?")
    return f'<div class="avatar" aria-hidden="true" style="background:{colour}">{markup(letter.upper()[:1])}</div>'


def sample_post(author: str, text: str) -> str:
    """A post in a few lines, as HTML."""
    words = f'<div class="words short">{markup(text)}</div>'
    return f'<div class="item"><div class="head"><bdi>@{markup(author)}</bdi></div>{words}</div>'


def next_command(purpose: str, *words: str | Path) -> None:
    """A command to copy, and what it does; nothing for a file whose name a page cannot show as it is.

    Args:
        purpose: What it does; our own words.
        words: The command's words; paths below the server's folder are named from there.
    """
    command = shlex.join(_from_here(word) if isinstance(word, Path) else word for word in words)
    if printable(command) == command:
        st.code(f"# next: {purpose}\n{command}", language=None, wrap_lines=True)


def _from_here(path: Path) -> str:
    return path_word(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def counted(count: int, one: str, more: str = "") -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"
