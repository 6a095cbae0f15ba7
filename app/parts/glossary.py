"""What measurements are, beside their charts and as a glossary of all of them."""

from collections.abc import Sequence

import streamlit as st

from polyphony.app.parts.escape import markup
from polyphony.app.parts.page_parts import block
from polyphony.metrics.core.definition import Definition
from polyphony.metrics.core.glossary import facts, glossary
from polyphony.metrics.core.registry import REGISTRY

WHAT = "What is this?"


def about(name: str) -> str:
    """What a measurement is, as HTML that opens on a click; empty for one whose plug-in is not loaded."""
    if name not in REGISTRY:
        return ""
    definition = REGISTRY.get(name)
    summary = f"{markup(definition.headline)} · {WHAT}" if definition.headline else WHAT
    return f'<details class="about"><summary>{summary}</summary>{_body(definition)}</details>'


def about_all(names: Sequence[str]) -> str:
    """What several measurements are, as HTML; those whose plug-in is not loaded are left out."""
    return "".join(
        f'<p style="margin:.5rem 0 0"><b>{markup(REGISTRY.get(name).title.lstrip("– "))}</b></p>'
        f"{_body(REGISTRY.get(name))}"
        for name in names if name in REGISTRY
    )  # fmt: skip


def explained(text: str) -> str:
    """What a figure of several measurements shows, as HTML that opens on a click; the text is our own words."""
    return f'<details class="about"><summary>{WHAT}</summary><div>{text}</div></details>'


def glossary_expander() -> None:
    """All measurements, by the question that they answer."""
    with st.expander("Glossary: what each measurement is"):
        groups = {group.title: group for group in glossary()}
        title = st.selectbox("Question", list(groups))
        entries = [
            f'<div class="item"><b>{markup(definition.title.lstrip("– "))}</b> '
            f"<code>{markup(definition.name)}</code>{_body(definition)}</div>"
            for definition in groups[title].definitions
        ]
        block("".join(entries))


def _body(definition: Definition) -> str:
    details = " · ".join(f"{name}: {text}" for name, text in facts(definition))
    return f'<div>{markup(definition.definition)}</div><p class="note">{markup(details)}</p>'
