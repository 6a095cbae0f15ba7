"""The Bank page: adapter revisions, their evaluations and their drift."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from polyphony.app.parts.charts import histogram
from polyphony.app.parts.escape import markup, plain
from polyphony.app.parts.library import FoundRun, Library, bank_catalog
from polyphony.app.parts.page_parts import chart, facts, heading, note, notice, table, title
from polyphony.errors import MetricsError
from polyphony.metrics.core.labels import signed
from polyphony.metrics.runfile.bank_catalog import BankCatalog, BankRevision

_GREEN = "#009E73"
_BLUE = "#0F7FCC"
_SERVING = "serving"
_MOST_WORST = 10


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
    current = _current(personal)
    evaluated = sorted(
        ((revision.advantage, revision) for revision in current if revision.advantage is not None),
        key=lambda pair: pair[0],
    )
    title("Bank", _verdict([advantage for advantage, _ in evaluated]))
    note(
        (_compared(len(current) - len(evaluated)) if evaluated else "")
        + f"This page reads the catalog of <code>{markup(library.bank.name)}</code>, not the weights."
    )
    if evaluated:
        _advantage([advantage for advantage, _ in evaluated])
        _worst([revision for _, revision in evaluated])
    with st.expander("Drift, all revisions and their changes of status", expanded=not evaluated):
        statuses = Counter(revision.status for revision in personal)
        facts([
            ("people", f"{len(current):,}"), ("revisions", f"{len(personal):,}"),
            *((name, f"{count:,}") for name, count in statuses.most_common()),
        ])  # fmt: skip
        _drift(personal)
        heading("Revisions", "Losses and evaluations are in nats per token.")
        table([_revision_row(revision) for revision in catalog.revisions], "revisions", 420)
        _transitions(catalog, personal)


def _current(personal: Sequence[BankRevision]) -> list[BankRevision]:
    """One revision of each adapter: the one that serves, else the newest."""
    of_adapter: dict[str, BankRevision] = {}
    for revision in sorted(personal, key=lambda revision: (revision.status == _SERVING, revision.number)):
        of_adapter[revision.adapter_id] = revision
    return list(of_adapter.values())


def _verdict(advantages: Sequence[float]) -> str:
    if not advantages:
        return "No adapter has been evaluated yet. Run <code>simulate bank evaluate</code>."
    better, count = sum(advantage > 0 for advantage in advantages), len(advantages)
    return (
        f"<b>{better:,} of {count:,} adapters</b> predicted their person's held-out posts better than the prior, the "
        "model that people share. "
        f"The mean advantage is {signed(sum(advantages) / count)} nats per token."
    )


def _compared(not_evaluated: int) -> str:
    """What the sentence at the top compares, and what it leaves out."""
    counted = "1 adapter has" if not_evaluated == 1 else f"{not_evaluated:,} adapters have"
    left_out = f"{counted} no evaluation and {'is' if not_evaluated == 1 else 'are'} not counted. "
    return (
        "Compared is the negative log-likelihood per token (NLL) of the person's own held-out posts: with the person's "
        "adapter, and with the prior alone, which all people share. Of each adapter it is the revision that serves, "
        f"else the newest. {left_out if not_evaluated else 'All adapters are evaluated. '}"
    )


def _advantage(advantages: Sequence[float]) -> None:
    heading(
        "Own advantage",
        "NLL with the prior alone minus NLL with the person's adapter. Right of the line the adapter predicts its "
        "person better than the prior does.",
    )
    figure = histogram(advantages, "nats per token", "adapters", _GREEN, 0.0)
    chart(figure, "own advantage", "Distribution of the own advantage")


def _worst(ascending: Sequence[BankRevision]) -> None:
    shown = ascending[:_MOST_WORST]
    heading(
        f"The {len(shown)} adapters with the least advantage",
        "Where the advantage is negative, the prior predicts the person better than the person's adapter does.",
    )
    rows = [
        {
            "person": revision.person, "own advantage": revision.advantage, "held-out, own adapter": revision.own,
            "held-out, prior": revision.pooled, "training posts": revision.train_examples,
            "adapter": revision.adapter_id, "revision": revision.number, "status": revision.status,
        }
        for revision in shown
    ]  # fmt: skip
    table(rows, "least advantage")


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
