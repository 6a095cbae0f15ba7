"""One HTML file that tells runs or a study: findings, figures, texts, method. It fetches nothing and runs no script."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from textwrap import fill, wrap

from polyphony.metrics.core.axis_range import axis_limits
from polyphony.metrics.core.glossary import facts, glossary
from polyphony.metrics.core.labels import arm_sentence, number, probability, signed, span
from polyphony.metrics.core.registry import HEADLINES, REGISTRY
from polyphony.metrics.figures.cascades import CascadeNode, cascade_nodes, distances_of
from polyphony.metrics.runfile.rundata import RunData
from polyphony.metrics.studies.comparison_table import corrected_p, counted_seeds
from polyphony.metrics.studies.evidence import Evidence
from polyphony.metrics.studies.findings import findings
from polyphony.metrics.studies.report import COLOURS
from polyphony.metrics.studies.sample_texts import SampleText, sample_texts
from polyphony.printable import inert

MARK = "<!-- A report of Polyphony -->"
# Most rows of texts, arms beside each other, nodes of a thread, and characters of a text.
TEXTS, MOST_ARMS, MOST_NODES, MOST_CHARACTERS = 8, 3, 10, 600
_LABEL_LETTERS = 28
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#667}
@media (prefers-color-scheme:dark){:root{--soft:#aab}}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;line-height:1.25}h2{margin-top:2.2rem;border-top:1px solid var(--line);padding-top:1rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}td,th{text-align:left;vertical-align:top;
padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}
.finding{border-left:4px solid #0072B2;padding:.2rem .8rem;margin:.6rem 0}.soft{color:var(--soft);font-size:.88rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:1rem}.chart svg{width:100%;
height:auto;background:#fff}.words{overflow-wrap:anywhere}code{overflow-wrap:anywhere}
"""
# On paper: black on white whatever the screen's colours, everything opened, and nothing cut that is read as one.
_PRINT_STYLE = """
@page{margin:18mm 16mm;@bottom-right{content:counter(page) " / " counter(pages);font:9pt sans-serif}}
@media print{
:root{color-scheme:only light;--line:#999;--soft:#444;font-size:10pt}
body{font-size:10pt;line-height:1.4;max-width:none;margin:0;padding:0;color:#000;background:#fff}
h1{font-size:17pt}h2{font-size:13pt;margin-top:1.4rem}h1,h2,h3,dt,summary{break-after:avoid}
.chart,.finding,.words,tr,li,dd{break-inside:avoid}p{orphans:3;widows:3}thead{display:table-header-group}
.charts{grid-template-columns:1fr 1fr}table{font-size:8.5pt}dl{font-size:9pt}
td{padding:.15rem .5rem .15rem 0}details td:nth-child(n+3){white-space:nowrap}
details::details-content{content-visibility:visible}
@supports selector(::details-content){summary{display:none}}
}
"""
_PRIVACY = (
    "This file holds texts that agents wrote, posts of the people of the corpus in threads, and handles. Where these "
    "are real people, share it as you would share their posts."
)


@dataclass(frozen=True)
class ReportContent:
    """What a report tells.

    Attributes:
        title: What it is about, as the first line says.
        evidence: Figures and differences.
        texts: A run of each arm, whose texts are shown.
        methods: How figures were computed, a paragraph each.
        facts: Names and values of all that decided the runs.
    """

    title: str
    evidence: Evidence
    texts: Mapping[str, RunData]
    methods: Sequence[str]
    facts: Sequence[tuple[str, str]]


def report_page(content: ReportContent) -> str:
    """The whole file."""
    body = "".join([
        _findings(content), _charts(content.evidence), _texts(content.texts), _threads(content.texts),
        _all_figures(content.evidence),
        _section("Before you share this", f"<p>{_text(_PRIVACY)}</p>"),
        _section("Method", "".join(f"<p>{_text(line)}</p>" for line in content.methods)),
        _facts(content.facts),
        _glossary(),
    ])  # fmt: skip
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n{MARK}\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><title>{_text(content.title)}</title>'
        f"<style>{_STYLE}{_PRINT_STYLE}</style></head><body><h1>{_text(content.title)}</h1>{body}</body></html>\n"
    )


def _findings(content: ReportContent) -> str:
    sentences = "".join(f'<p class="finding">{_text(finding)}</p>' for finding in findings(content.evidence))
    arms = "".join(
        f"<li><b>{_text(arm)}</b> {_text(arm_sentence(arm.partition(':')[0]))}</li>" for arm in content.evidence.arms
    )
    return f"{sentences}<ul>{arms}</ul>"


def _charts(evidence: Evidence) -> str:
    drawn = []
    for name in HEADLINES:
        chart, definition = _chart(evidence, name), REGISTRY.get(name)
        if chart:
            words = f"<b>{_text(definition.title)}</b><br><span class=soft>{_text(definition.headline)}</span>"
            drawn.append(f'<div class="chart"><p>{words}</p>{chart}</div>')
    lead = "A mark is the mean over seeds with its 95% interval; with one seed the interval is over agents."
    return _section("Headline figures", f'<p class=soft>{lead}</p><div class="charts">{"".join(drawn)}</div>')


def _chart(evidence: Evidence, name: str) -> str:
    """A measurement as SVG, a row for each arm and size; empty where no run has a value."""
    rows = [
        (f"{arm}, {size:,}" if len(evidence.sizes) > 1 else arm, place, figure)
        for place, arm in enumerate(evidence.arms) for size in evidence.sizes
        if (figure := evidence.figure(name, arm, size)).value is not None
    ]  # fmt: skip
    if not rows:
        return ""
    import matplotlib

    settings = {"svg.hashsalt": "polyphony", "font.size": 9, "svg.fonttype": "none", "text.parse_math": False}
    with matplotlib.rc_context(settings):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        lines = sum(len(wrap(inert(label), _LABEL_LETTERS)) for label, _, _ in rows)
        drawing = Figure((4.6, 0.7 + 0.16 * (len(rows) + lines)), layout="constrained")
        FigureCanvasAgg(drawing)
        axes = drawing.subplots()
        values: list[float] = []
        for height, (_, place, figure) in enumerate(rows):
            value = figure.value or 0.0
            low, high = figure.interval or (value, value)
            values += [value, low, high]
            colour = COLOURS[place % len(COLOURS)]
            axes.hlines(height, low, high, color=colour, linewidth=1.5)  # it need not hold the value
            axes.plot([value], [height], marker="o", color=colour)
        axes.set_yticks(range(len(rows)), [fill(inert(label), _LABEL_LETTERS) for label, _, _ in rows])
        axes.invert_yaxis()
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.3)
        if (limits := axis_limits(name, values)) is not None:
            axes.set_xlim(*limits)
        stream = StringIO()
        drawing.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()[stream.getvalue().index("<svg") :]


def _texts(runs: Mapping[str, RunData]) -> str:
    rows = sample_texts(list(runs.values()), TEXTS)
    if not rows:
        return ""
    cells = ([_sample(sample) for sample in row] for row in rows)
    return _section("A text each of agents drawn by lot", _table([_text(arm) for arm in runs], cells))


def _sample(sample: SampleText | None) -> str:
    if sample is None:
        return "–"
    whom = f" to @{sample.answered}" if sample.answered else ""
    return f'<span class="words"><b>@{_text(sample.author)}{_text(whom)}</b> {_words(sample.text)}</span>'


def _threads(runs: Mapping[str, RunData]) -> str:
    parts = []
    for arm, run in runs.items():
        trees = cascade_nodes(run)
        if trees:
            nodes = max(trees, key=lambda tree: (max(distances_of([node.parent for node in tree])), len(tree)))
            shown = _deepest_first(nodes)[:MOST_NODES]
            depths, left_out = distances_of([node.parent for node in nodes]), len(nodes) - len(shown)
            lines = "".join(_node(run, nodes, place, depths[place]) for place in shown)
            rest = f"<p class=soft>{left_out:,} more are left out.</p>" if left_out else ""
            parts.append(f"<h3>{_text(arm)}</h3>{lines}{rest}")
    return _section("The deepest thread of each", "".join(parts)) if parts else ""


def _deepest_first(nodes: Sequence[CascadeNode]) -> list[int]:
    """The places of a thread's nodes before what answers them; of several answers first the one with the deepest."""
    children: list[list[int]] = [[] for _ in nodes]
    for place, node in enumerate(nodes[1:], 1):
        children[node.parent].append(place)
    heights = [0] * len(nodes)
    for place in range(len(nodes) - 1, 0, -1):  # parents come before their children
        heights[nodes[place].parent] = max(heights[nodes[place].parent], heights[place] + 1)
    order, waiting = [], [0]
    while waiting:
        place = waiting.pop()
        order.append(place)
        waiting += sorted(children[place], key=lambda child: (heights[child], -child))
    return order


def _node(run: RunData, nodes: Sequence[CascadeNode], place: int, depth: int) -> str:
    node = nodes[place]
    if node.kind == "reply":
        words = run.comment_by_id[node.id].content
    else:
        words = "" if node.kind == "repost" else run.post_by_id[node.id].own_text
    author, answered = (run.users.get(nodes[number].user_id, "?") for number in (place, node.parent))
    whom = "" if place == 0 else f" to @{answered}"
    return (
        f'<p class="words" style="margin:.3rem 0 .3rem {1.5 * depth:.1f}rem"><b>@{_text(author)}</b> '
        f"<span class=soft>{_text(node.kind + whom)}</span> {_words(words)}</p>"
    )


def _all_figures(evidence: Evidence) -> str:
    table = _differences(evidence) if evidence.differences else _values(evidence)
    return _section("All figures", f"<details><summary>Show them</summary>{table}</details>")


def _differences(evidence: Evidence) -> str:
    headers = (
        "figure", "arm", "agents", _text(f"less {evidence.reference}"), "95% interval", "verdict", "d", "p",
        "p (Holm)", "seeds", "seeds for 80% power",
    )  # fmt: skip
    rows = (
        (
            _text(evidence.title(row.measurement)), _text(row.arm), f"{row.agents:,}",
            "–" if row.difference is None else _text(signed(row.difference)), _text(span(row.interval)) or "–",
            _text(row.verdict or "–"), _text(number(row.effect_size)), _text(probability(row.p)),
            _text(corrected_p(row)), _text(counted_seeds(row)),
            "–" if row.seeds_needed is None else str(row.seeds_needed),
        )
        for row in evidence.differences
    )  # fmt: skip
    return _table(headers, rows)


def _values(evidence: Evidence) -> str:
    rows = (
        (
            _text(evidence.title(row.measurement)), _text(row.arm), f"{row.agents:,}", str(row.seed),
            _text(number(row.value)),
            "–" if row.low is None or row.high is None else _text(span((row.low, row.high))),
        )
        for row in evidence.figures
    )  # fmt: skip
    return _table(("figure", "arm", "agents", "seed", "value", "95% interval"), rows)


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    table = _table(("", ""), ((_text(name), f"<code>{_text(value)}</code>") for name, value in rows))
    return _section(
        "What the runs were made with",
        f"<details><summary>People, versions, digests and settings</summary>{table}</details>",
    )


def _glossary() -> str:
    parts = [
        f"<dt><b>{_text(definition.title.lstrip('– '))}</b></dt><dd>{_text(definition.definition)} <span class=soft>"
        f"{_text(' · '.join(f'{name}: {text}' for name, text in facts(definition)))}</span></dd>"
        for group in glossary() for definition in group.definitions
    ]  # fmt: skip
    return _section("Glossary", f"<details><summary>What each figure is</summary><dl>{''.join(parts)}</dl></details>")


def _section(title: str, content: str) -> str:
    return f"<h2>{_text(title)}</h2>{content}"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{header}</th>" for header in headers)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _words(text: str) -> str:
    """What an agent wrote, cut."""
    return _text(text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…")


def _text(text: str) -> str:
    """Text as HTML that shows exactly that text."""
    return html.escape(inert(text), quote=True)
