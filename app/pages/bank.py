"""The adapters: revisions, evaluations, how far each is from what it follows."""

from collections import Counter

import streamlit as st

from polyphony.app.parts.charts import histogram
from polyphony.app.parts.escape import markup, plain
from polyphony.app.parts.library import FoundRun, Library, bank_catalog
from polyphony.app.parts.page_parts import chart, facts, heading, note, notice, table, title
from polyphony.errors import MetricsError
from polyphony.metrics.core.labels import number
from polyphony.metrics.runfile.bank_catalog import BankCatalog, BankRevision

_GREEN = "#009E73"
_BLUE = "#0F7FCC"


def draw(library: Library, _: FoundRun | None) -> None:
    """Draw the page."""
    if library.bank is None:
        title("Bank", "No bank of adapters in this folder or beside it; name one with <code>--bank DIR</code>.")
        return
    try:
        catalog = bank_catalog(library.bank)
    except MetricsError as error:
        title("Bank", "The bank cannot be read.")
        notice(str(error))
        return
    personal = [each for each in catalog.revisions if each.kind == "personal"]
    statuses = Counter(each.status for each in personal)
    title("Bank", f"Adapters in <code>{markup(library.bank.name)}</code>; only the catalog is read, never the weights.")
    facts([
        ("people", f"{len({each.adapter_id for each in personal}):,}"), ("revisions", f"{len(personal):,}"),
        *((name, f"{count:,}") for name, count in statuses.most_common()),
    ])  # fmt: skip
    _advantage(personal)
    _drift(personal)
    heading("Revisions", "Losses and evaluations in nats a token.")
    table([_row(each) for each in catalog.revisions], "revisions", 420)
    _life(catalog, personal)


def _advantage(personal: list[BankRevision]) -> None:
    heading(
        "Own advantage",
        "How much likelier each adapter finds its person's held-out posts than the prior alone does: right of the line "
        "it carries something of its person.",
    )
    values = [each.advantage for each in personal if each.advantage is not None]
    if not values:
        note("No revision is evaluated yet: <code>simulate bank evaluate</code> does it.")
        return
    better = sum(value > 0 for value in values)
    figure = histogram(values, "nats a token", "revisions", _GREEN, 0.0)
    chart(figure, "own advantage", "Distribution of the own advantage")
    note(f"{better:,} of {len(values):,} are above zero; the mean is {number(sum(values) / len(values))}.")


def _drift(personal: list[BankRevision]) -> None:
    values = [each.drift for each in personal if each.drift is not None]
    heading("Drift", "KL divergence on fixed probes from what a revision follows: its parent, or what lies beneath it.")
    if values:
        chart(histogram(values, "nats a token", "revisions", _BLUE), "drift", "Distribution of the drift")
    else:
        note("No revision is probed yet: <code>simulate bank evaluate --latest</code> does it.")


def _row(each: BankRevision) -> dict[str, object]:
    return {
        "person": each.person or f"({each.kind})", "adapter": each.adapter_id, "revision": each.number,
        "parent": each.parent, "status": each.status, "rank": each.rank, "start": each.init,
        "numbers": each.precision, "train loss": each.train_loss, "validation loss": each.validation_loss,
        "held-out, own": each.own, "held-out, prior": each.pooled, "own advantage": each.advantage,
        "drift": each.drift, "trainer against engine": each.disagreement, "training posts": each.train_examples,
        "made": each.created_at,
    }  # fmt: skip


def _life(catalog: BankCatalog, personal: list[BankRevision]) -> None:
    heading("One adapter's life", "Every step that its revisions took, and what was overruled.")
    names = {each.adapter_id: each.person for each in personal}
    if not names:
        note("No personal adapter.")
        return
    chosen = st.selectbox("Person", list(names), format_func=lambda each: "@" + plain(names[each]))
    steps = [each for each in catalog.steps if each.adapter_id == chosen]
    table(
        [
            {"revision": each.number, "from": each.before or "–", "to": each.after, "when": each.at,
             "overruled": each.forced or ""}
            for each in steps
        ],
        f"life of {chosen}",
    )  # fmt: skip
