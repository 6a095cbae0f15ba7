"""All measurements of one run."""

import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from polyphony.metrics.core.caveats import without_interval, without_null
from polyphony.metrics.core.measurement import Measurement
from polyphony.metrics.core.registry import REGISTRY, names_of, plugin_measurements, title_of
from polyphony.metrics.figures.activity import activity
from polyphony.metrics.figures.acts import act_diversity
from polyphony.metrics.figures.attribution import attribution
from polyphony.metrics.figures.cascades import cascades
from polyphony.metrics.figures.co_engagement import co_engagement
from polyphony.metrics.figures.communities import LOUVAIN_SEED, community_sizes, community_strength
from polyphony.metrics.figures.conversations import conversations
from polyphony.metrics.figures.diversity import (
    distinct,
    near_duplicate_rate,
    self_bleu,
    semantic_spread,
    vendi,
    vocabulary_growth,
)
from polyphony.metrics.figures.exposure_nulls import exposure_adjusted_homophily_shown, own_choices
from polyphony.metrics.figures.fidelity import act_distance, next_act, next_act_of_window
from polyphony.metrics.figures.graphs import other_communities
from polyphony.metrics.figures.heterogeneity import count_heterogeneity, likes_received
from polyphony.metrics.figures.homophily import exposure_adjusted_homophily, within_community_homophily
from polyphony.metrics.figures.inequality import inequality
from polyphony.metrics.figures.interaction_structure import interaction_structure
from polyphony.metrics.figures.interactions import reciprocity
from polyphony.metrics.figures.issue_stance import issue_stance
from polyphony.metrics.figures.matched_trees import matched_trees
from polyphony.metrics.figures.memorisation import memorisation
from polyphony.metrics.figures.planted import planted_agreement
from polyphony.metrics.figures.planted_posts import planted_spread
from polyphony.metrics.figures.plugins import is_failure, plugin_figure
from polyphony.metrics.figures.recovery import style_recovery, topic_recovery
from polyphony.metrics.figures.references import cascade_distance
from polyphony.metrics.figures.responsiveness import act_variance
from polyphony.metrics.figures.stance import stance_spread
from polyphony.metrics.figures.targets import targets
from polyphony.metrics.figures.texts import EncodedTexts, encode_texts
from polyphony.metrics.figures.timing import community_windows, response_delay, rhythm_divergence
from polyphony.metrics.figures.topic_homophily import centred_homophily, topic_homophily
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.engine import ENGINE, engine_facts
from polyphony.metrics.runfile.frames import RunFrames
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData

# Resampling has one seed of its own, whatever the run's: the same file gives the same figures.
_SEED = 0
_NUMERIC = ("sklearn.decomposition", "sklearn.discriminant_analysis", "sklearn.ensemble", "sklearn.svm", "scipy.linalg")


@dataclass(frozen=True)
class RunMeasurements:
    """The measurements of one run and what they belong to.

    Attributes:
        source: The path or URL that was measured.
        digest: See `run_digest`; empty where only some subjects were measured.
        completed_timesteps: Timesteps that are complete; below `timesteps` where the run was interrupted.
        config: Everything else that decided the run, by setting.
        bank_digest: Fingerprint of the adapters used; None without any.
        versions: What the run was made with: packages, processor, compute type.
        text_encoder: Encoder of the text similarities; None where nothing was written.
        measurements: By name, in the order of the registry.
        second_text_encoder: The one that conclusions about texts are checked with.
    """

    source: str
    arm: str
    agents: int
    timesteps: int
    completed_timesteps: int
    seed: int
    status: str
    digest: str
    population: str
    population_digest: str
    config: dict[str, Any]
    bank_digest: str | None
    versions: dict[str, Any]
    text_encoder: str | None
    measurements: dict[str, Measurement]
    second_text_encoder: str | None = None

    @property
    def plugin_failures(self) -> tuple[str, ...]:
        """Why functions of plug-ins failed, a line each."""
        return tuple(
            str(self.measurements[definition.name].reason) for definition in plugin_measurements()
            if definition.name in self.measurements and is_failure(definition, self.measurements[definition.name])
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The JSON object of ``simulate metrics X.db --json``."""
        return {
            "run": {
                "arm": self.arm,
                "agents": self.agents,
                "timesteps": self.timesteps,
                "seed": self.seed,
                "status": self.status,
                "digest": self.digest,
                **({} if (facts := engine_facts(self.versions)) is None else {ENGINE: facts._asdict()}),
            },
            "measurements": {name: figure.to_json() for name, figure in self.measurements.items()},
            "methods": {
                "text_encoder": self.text_encoder,
                "second_text_encoder": self.second_text_encoder,
                "louvain": f"python-louvain, resolution 1, seed {LOUVAIN_SEED}",
                "interval": "95% percentile bootstrap, over agents (cascades: over cascades)",
                "without_interval": without_interval(self.measurements),
                "without_null": without_null(self.measurements),
            },
        }


Progress = Callable[[int, int, str], None]
"""Called before each subject with the measurements done, those in all, and the title of its first measurement."""


def measure_run(
    source: Path | str, subjects: Collection[str] | None = None,
    *, progress: Progress = lambda done, total, title: None,
) -> RunMeasurements:  # fmt: skip
    """Measure a run.

    Args:
        source: Path of an SQLite file, or any SQLAlchemy URL.
        subjects: Groups of measurements: keys of `SUBJECTS`, or the `subject` of a plug-in's definition; None for
            all. A group's values do not depend on the others.
        progress: Where to report.

    Raises:
        MetricsError: The file is missing, is not a database or is not a Polyphony run.
        RuntimeError: The code of a subject does not give the measurements that the registry names, a fault of ours.
    """
    run = load_run(source)
    # One thread: results do not depend on the cores, and runs measured at the same time do not wait in turn. The
    # limit holds for what is loaded by then.
    for library in _NUMERIC:
        import_module(library)
    with threadpool_limits(1):
        encoders, figures = _measure(run, all_subjects() if subjects is None else subjects, progress)
    return RunMeasurements(
        source=run.name,
        arm=run.arm,
        agents=len(run.agents),
        timesteps=run.timesteps,
        completed_timesteps=run.completed_timesteps,
        seed=run.seed,
        status=run.status,
        digest=run_digest(source) if subjects is None else "",
        population=run.population,
        population_digest=run.population_digest,
        config=run.config,
        bank_digest=run.bank_digest,
        versions=run.versions,
        text_encoder=encoders[0],
        measurements=figures,
        second_text_encoder=encoders[1],
    )


class _Texts:
    """The run's texts, encoded when first asked for."""

    def __init__(self, run: RunData) -> None:
        self._run = run

    @cached_property
    def words(self) -> EncodedTexts:
        return encode_texts(self._run)

    @cached_property
    def characters(self) -> EncodedTexts:
        return encode_texts(self._run, "characters")


_Figures = Mapping[str, Measurement]

# Names are keys of random generators, too: a new subject moves no other.
SUBJECTS: dict[str, Callable[[RunData, _Texts, np.random.Generator], _Figures]] = {
    "activity": lambda run, texts, rng: activity(run, rng),
    "acts": lambda run, texts, rng: act_diversity(run, rng),
    "community sizes": lambda run, texts, rng: community_sizes(run),
    "communities": lambda run, texts, rng: community_strength(run, rng),
    "attribution": lambda run, texts, rng: attribution(run, rng),
    "cascades": lambda run, texts, rng: cascades(run, rng),
    "inequality": lambda run, texts, rng: inequality(run, rng),
    "planted": lambda run, texts, rng: planted_agreement(run, rng),
    "distinct": lambda run, texts, rng: distinct(run, rng),
    "within": lambda run, texts, rng: {"within_community_homophily": within_community_homophily(run, texts.words, rng)},
    "exposure": lambda run, texts, rng: {
        "exposure_adjusted_homophily": exposure_adjusted_homophily(run, texts.words, rng)
    },
    "near duplicates": lambda run, texts, rng: {"near_duplicate_rate": near_duplicate_rate(run, rng)},
    "reciprocity": lambda run, texts, rng: {"reciprocity": reciprocity(run, rng)},
    "vendi": lambda run, texts, rng: {"vendi": vendi(texts.words, rng)},
    "other graphs": lambda run, texts, rng: other_communities(run, rng),
    "spread": lambda run, texts, rng: semantic_spread(texts.words, rng),
    "references": lambda run, texts, rng: cascade_distance(run, rng),
    "topics": lambda run, texts, rng: topic_recovery(run, rng),
    "style": lambda run, texts, rng: style_recovery(run, rng),
    "next act": lambda run, texts, rng: next_act(run, rng),
    "memorisation": lambda run, texts, rng: memorisation(run, rng),
    "windows": lambda run, texts, rng: community_windows(run, rng),
    "within characters": lambda run, texts, rng: {
        "within_community_homophily_characters": within_community_homophily(run, texts.characters, rng)
    },
    "stance": lambda run, texts, rng: {"stance_spread": stance_spread(run, rng)},
    "self-BLEU": lambda run, texts, rng: {"self_bleu": self_bleu(run, rng)},
    "vocabulary": lambda run, texts, rng: {"vocabulary_growth": vocabulary_growth(run, rng)},
    "delay": lambda run, texts, rng: {"response_delay_hours": response_delay(run, rng)},
    "rhythm": lambda run, texts, rng: {"rhythm_divergence_bits": rhythm_divergence(run, rng)},
    "conversations": lambda run, texts, rng: conversations(run, rng),
    "act distance": lambda run, texts, rng: {"act_distance_to_history": act_distance(run, rng)},
    "responsiveness": lambda run, texts, rng: act_variance(run, rng),
    "targets": lambda run, texts, rng: targets(run, rng),
    "planted posts": lambda run, texts, rng: planted_spread(run, rng),
    "topic homophily": lambda run, texts, rng: topic_homophily(run, rng),
    "centred homophily": lambda run, texts, rng: centred_homophily(run, texts.words, rng),
    "issue stance": lambda run, texts, rng: issue_stance(run, rng),
    "interaction structure": lambda run, texts, rng: interaction_structure(run, rng),
    "co-engagement": lambda run, texts, rng: co_engagement(run, rng),
    "exposure nulls": lambda run, texts, rng: own_choices(run, rng),
    "shown homophily": lambda run, texts, rng: {
        "exposure_adjusted_homophily_shown": exposure_adjusted_homophily_shown(run, texts.words, rng)
    },
    "count heterogeneity": lambda run, texts, rng: count_heterogeneity(run, rng),
    "likes received": lambda run, texts, rng: likes_received(run, rng),
    "matched trees": lambda run, texts, rng: matched_trees(run, rng),
    "next act of window": lambda run, texts, rng: next_act_of_window(run, rng),
}


def all_subjects() -> tuple[str, ...]:
    """The subjects of Polyphony's own measurements, then those of plug-ins."""
    return (*SUBJECTS, *(definition.subject for definition in plugin_measurements()))


def _measure(
    run: RunData, subjects: Collection[str], progress: Progress
) -> tuple[tuple[str | None, str | None], dict[str, Measurement]]:
    texts, frames = _Texts(run), RunFrames(run)
    plugins = {definition.subject: definition for definition in plugin_measurements()}
    figures: dict[str, Measurement] = {}
    total = sum(len(names_of(subject)) for subject in subjects)
    for subject in subjects:
        progress(len(figures), total, title_of(names_of(subject)[0]))
        if subject in plugins:
            figures[plugins[subject].name] = plugin_figure(plugins[subject], frames)
        else:
            figures |= _complete(subject, SUBJECTS[subject](run, texts, _generator(subject)))
    encoders = (
        texts.words.encoder if "words" in vars(texts) else None,
        texts.characters.encoder if "characters" in vars(texts) else None,
    )
    return encoders, {name: figures[name] for name in REGISTRY if name in figures}


def _complete(subject: str, figures: _Figures) -> _Figures:
    """The figures, if they are exactly those that the registry names for the subject."""
    if set(figures) != set(names_of(subject)):
        differing = ", ".join(sorted(set(figures) ^ set(names_of(subject))))
        raise RuntimeError(f"the code of subject {subject!r} and the registry of measurements differ in: {differing}")
    return figures


def _generator(purpose: str) -> np.random.Generator:
    """A generator of its own for each subject, so that a new measurement moves no other."""
    return np.random.default_rng([_SEED, zlib.crc32(purpose.encode())])
