"""The Bank page: adapter revisions, their evaluations and their drift."""

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
        title(
            "Bank",
            "This folder and its parent hold no bank of adapters. Start the dashboard with <code>--bank DIR</code>.",
        )
        return
    try:
        catalog = bank_catalog(library.bank)
    except MetricsError as error:
        title("Bank", "The bank cannot be read.")
        notice(str(error))
        return
    personal = [revision for revision in catalog.revisions if revision.kind == "personal"]
    statuses = Counter(revision.status for revision in personal)
    title(
        "Bank", f"Adapters in <code>{markup(library.bank.name)}</code>. This page reads the catalog, not the weights."
    )
    facts([
        ("people", f"{len({revision.adapter_id for revision in personal}):,}"), ("revisions", f"{len(personal):,}"),
        *((name, f"{count:,}") for name, count in statuses.most_common()),
    ])  # fmt: skip
    _advantage(personal)
    _drift(personal)
    heading("Revisions", "Losses and evaluations are in nats per token.")
    table([_revision_row(revision) for revision in catalog.revisions], "revisions", 420)
    _transitions(catalog, personal)


def _advantage(personal: list[BankRevision]) -> None:
    heading(
        "Own advantage",
        "How much lower the loss on a person's held-out posts is with the person's adapter than with the prior alone. "
        "Right of the line the adapter predicts its person better than the prior does.",
    )
    values = [revision.advantage for revision in personal if revision.advantage is not None]
    if not values:
        note("No revision has been evaluated. Run <code>simulate bank evaluate</code>.")
        return
    better = sum(value > 0 for value in values)
    figure = histogram(values, "nats per token", "revisions", _GREEN, 0.0)
    chart(figure, "own advantage", "Distribution of the own advantage")
    note(f"{better:,} of {len(values):,} revisions are above zero; the mean is {number(sum(values) / len(values))}.")


def _drift(personal: list[BankRevision]) -> None:
    values = [revision.drift for revision in personal if revision.drift is not None]
    heading(
        "Drift",
        "KL divergence of a revision from its parent on fixed probes. A first revision is compared with the prior or "
        "the base model that it was trained on.",
    )
    if values:
        chart(histogram(values, "nats per token", "revisions", _BLUE), "drift", "Distribution of the drift")
    else:
        note("No revision has been probed. Run <code>simulate bank evaluate --latest</code>.")


def _revision_row(revision: BankRevision) -> dict[str, object]:
    return {
        "person": revision.person or f"({revision.kind})", "adapter": revision.adapter_id, "revision": revision.number,
        "parent": revision.parent, "status": revision.status, "rank": revision.rank, "initialisation": revision.init,
        "storage": revision.precision, "train loss": revision.train_loss, "validation loss": revision.validation_loss,
        "held-out, own adapter": revision.own, "held-out, prior": revision.pooled, "own advantage": revision.advantage,
        "drift": revision.drift, "trainer–engine difference": revision.disagreement,
        "training posts": revision.train_examples, "created": revision.created_at,
    }  # fmt: skip


def _transitions(catalog: BankCatalog, personal: list[BankRevision]) -> None:
    heading(
        "Status changes of one adapter", "Every change of status of its revisions, and which checks were overruled."
    )
    people = {revision.adapter_id: revision.person for revision in personal}
    if not people:
        note("The bank holds no personal adapter.")
        return
    adapter = st.selectbox("Person", list(people), format_func=lambda name: "@" + plain(people[name]))
    rows = [
        {
            "revision": step.number, "from": step.before or "–", "to": step.after, "when": step.at,
            "overruled": step.forced or "",
        }
        for step in catalog.steps if step.adapter_id == adapter
    ]  # fmt: skip
    table(rows, f"status changes of {adapter}")
