"""Small pieces of the page."""

import streamlit as st

from app.escape import markup


def block(body: str) -> None:
    """Put HTML of our own on the page; every foreign text in it must have gone through `markup`."""
    st.html(f'<div class="pp">{body}</div>')


def heading(title: str, note: str) -> None:
    """A section's title and the sentence that says how to read it; both are our own words."""
    block(f'<h2>{title}</h2><p class="note">{note}</p>')


def notice(text: str) -> None:
    """A message about the user's files, shown as plain text."""
    block(f'<div class="notice words">{markup(text)}</div>')


def arm_name(arm: str, colour: str) -> str:
    """An arm's name with its colour, as HTML."""
    return f'<span class="arm"><span class="dot" style="background:{colour}"></span><bdi>{markup(arm)}</bdi></span>'
