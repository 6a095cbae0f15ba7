"""The glossary: what every measurement is, for the documentation and the dashboard."""

from collections.abc import Iterator
from typing import NamedTuple

from polyphony.metrics.core.definition import Definition
from polyphony.metrics.core.definitions import DEFINITIONS
from polyphony.metrics.core.registry import plugin_measurements

# Subjects of the registry by the question that they answer.
_GROUPS = {
    "What agents do": ("activity", "acts", "inequality", "count heterogeneity", "likes received", "delay", "rhythm"),
    "Whether what agents are shown changes what they do": (
        "responsiveness", "targets", "exposure nulls", "shown homophily",
    ),
    "Who interacts with whom": ("community sizes", "communities", "windows", "reciprocity", "other graphs", "planted",
                               "interaction structure", "co-engagement"),
    "Whether those who interact write alike": (
        "topic homophily", "centred homophily", "issue stance", "within", "within characters", "exposure", "stance",
    ),
    "How threads grow": ("cascades", "conversations", "planted posts", "references", "matched trees"),
    "How varied texts are": ("distinct", "near duplicates", "self-BLEU", "vocabulary", "spread", "vendi"),
    "How close agents are to their people": (
        "attribution", "topics", "style", "act distance", "next act", "next act of window", "memorisation",
    ),
}  # fmt: skip
_PLUGINS = "Of plug-ins"

_PAGE = """# Measurements

`simulate metrics RUN.db` takes all {count} measurements of a run; `simulate compare`, studies and the dashboard show
them under the titles below. `python -m benchmarks.glossary_page` writes this page from the registry of measurements
(`metrics/core/definitions.py`); the dashboard shows the same glossary.

- **Interval**: the 95% percentile bootstrap over the units that it names. If there is none, the entry gives the reason.
- **Null**: what the measurement would be if the structure in question were left to chance. It gives a mean, a standard
  deviation and z. If there is none, the entry gives the reason.
- **n**: what the number of observations counts.
- **Primary**: one of the four measurements that a study's conclusions rest on, unless its plan names others. Their p
  values are corrected (Holm 1979) among themselves. All others are exploratory, and their p values are not corrected.
- **Superseded by**: the measurement that replaces it in new studies. The older one is unchanged, because stored
  studies hold it.
- A measurement that a run cannot give has no value and a reason, never a zero.
- **d**: an effect size is left out, with a reason, where fewer than 10 differences (of seeds or of
  populations) equal each other to 2% of their mean. The difference, its interval and its p stay.

**The agents' choice, or the feed's?** A feed that shows people their own community makes ties inside it, although
nobody prefers it. A null that permutes labels among the agents takes such ties for a preference. Figures that end in
`_shown` use another null: they draw the target of each act again among the items that the agent was shown and that the
act could have been about. The null policy, which chooses blindly, then lies inside the null. In synthetic runs of 28
agents with 10 activations each, these figures find log odds of 0.8 for the own community (2.2 to 1), and of 0.5 for
each reaction of an item, in at least 80% of 20 runs. `planted_nmi_shown` and `planted_ari_shown` are tested only
against false alarms, because where the feed makes the communities there is little left to find. The draws do not
change later feeds.

**Sizes of threads.** `cascade_size_ks_*` ask whether a run's reply trees of at least 6 posts have the same sizes as
equally many real ones in the same window of sizes. They do not say why the sizes differ: a run is short, and its last
trees are cut off. The reference gives sizes and depths separately, so no depth is compared with it;
`cascade_depth_gap_history` compares depths at equal size with the people's own histories.
`tests/test_planted_truth_acts.py` plants each effect at a known strength.

**Likes.** The Gini coefficient of likes is over agents. Paper 2606.02437 gives one of 0.866 to 0.913 without saying
over what, so the two may not be comparable.

A measurement of your own is a Python function in a plug-in:

```python
from polyphony.metrics.core.measurement import missing
from polyphony.metrics.core.registry import measurement


@measurement(
    "words_per_post",
    title="Words per post",
    definition="Mean number of words of the original posts that agents wrote.",
    unit="words",
)
def words_per_post(run):
    posts = run.posts.query("kind == 'post' and not is_seed")
    return posts["text"].str.split().str.len().mean() if len(posts) else missing("no agent posted")
```

`run` gives data frames: `posts`, `acts`, `exposures`, `edges`, `agents`, `history` and `texts(agent)`, see
`metrics/runfile/frames.py` for their columns. If the function fails, its measurement has no value and the reason is
one line; no other measurement changes. Measurements of plug-ins are exploratory: their p values are not corrected.
"""


class Group(NamedTuple):
    """Measurements that answer one question."""

    title: str
    definitions: tuple[Definition, ...]


def glossary() -> list[Group]:
    """All measurements by the question that they answer; plug-ins' last, where there are any."""
    groups = [
        Group(title, tuple(definition for definition in DEFINITIONS if definition.subject in subjects))
        for title, subjects in _GROUPS.items()
    ]
    plugins = plugin_measurements()
    return [*groups, Group(_PLUGINS, plugins)] if plugins else groups


def facts(definition: Definition) -> list[tuple[str, str]]:
    """Names and texts of what is known of a measurement beside its definition, those that are empty left out."""
    interval = f"over {definition.interval}" if definition.interval else _none(definition.no_interval)
    null = definition.null or _none(definition.no_null)
    rows = [
        ("Unit", definition.unit), ("n", definition.n), ("Interval", interval), ("Null", null),
        ("Needs", ", ".join(definition.needs)), ("Source", definition.source),
        ("Superseded by", definition.superseded_by and f"`{definition.superseded_by}`"),
    ]  # fmt: skip
    return [(name, text) for name, text in rows if text]


def glossary_page() -> str:
    """The glossary as Markdown, of Polyphony's own measurements alone."""
    groups = [group for group in glossary() if group.title != _PLUGINS]
    parts = [_PAGE.format(count=len(DEFINITIONS)), *(part for group in groups for part in _section(group))]
    return "\n".join(parts)


def _section(group: Group) -> Iterator[str]:
    yield f"## {group.title}\n"
    for definition in group.definitions:
        mark = " (primary)" if definition.primary else " (headline)" if definition.headline else ""
        yield f"### {definition.title.lstrip('– ')}\n"
        yield f"`{definition.name}`{mark}: {definition.definition}\n"
        yield " · ".join(f"{name}: {text}" for name, text in facts(definition)) + "\n"


def _none(reason: str) -> str:
    return f"none ({reason})" if reason else ""
