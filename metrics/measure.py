"""All measurements of one run."""

import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from metrics.activity import activity
from metrics.acts import act_diversity
from metrics.attribution import attribution
from metrics.cascades import cascades
from metrics.communities import communities, leiden_check
from metrics.digest import run_digest
from metrics.diversity import distinct, near_duplicate_rate, self_bleu, semantic_spread, vendi, vocabulary_growth
from metrics.fidelity import act_distance, next_act
from metrics.graphs import other_communities
from metrics.homophily import exposure_adjusted_homophily, within_community_homophily
from metrics.inequality import inequality
from metrics.interactions import reciprocity
from metrics.measurement import Measurement, missing
from metrics.memorisation import memorisation
from metrics.planted import planted_agreement
from metrics.references import cascade_distance
from metrics.rundata import RunData, load_run
from metrics.stance import stance_spread
from metrics.texts import encode_texts
from metrics.timing import community_persistence, response_delay, rhythm_divergence

# The order in which figures are shown; the first twenty are the command line's contract.
MEASUREMENTS = (
    "original_post_rate",
    "original_post_share",
    "original_posts",
    "comments",
    "comments_per_agent",
    "reposts",
    "quotes",
    "likes",
    "act_entropy_bits",
    "act_divergence_between_agents",
    "communities",
    "effective_communities",
    "modularity",
    "within_community_homophily",
    "exposure_adjusted_homophily",
    "distinct_2",
    "vendi",
    "attribution_accuracy",
    "cascade_size_mean",
    "structural_virality_mean",
    "follows",
    "nothing_share",
    "policy_entropy_bits",
    "louvain_stability",
    "attribution_ceiling",
    "posts_gini",
    "original_post_icc",
    "distinct_1",
    "distinct_3",
    "near_duplicate_rate",
    "planted_assortativity",
    "planted_ei_index",
    "planted_nmi",
    "planted_ari",
    "reciprocity",
    "cascade_depth_mean",
    "cascade_breadth_mean",
    "comments_per_activation",
    "reposts_per_activation",
    "quotes_per_activation",
    "likes_per_activation",
    "follows_per_activation",
    "original_posts_per_agent",
    "reposts_per_agent",
    "quotes_per_agent",
    "likes_per_agent",
    "follows_per_agent",
    "leiden_effective_communities",
    "leiden_louvain_nmi",
    "community_persistence",
    "follow_effective_communities",
    "follow_modularity",
    "co_exposure_effective_communities",
    "co_exposure_modularity",
    "within_community_homophily_characters",
    "stance_spread",
    "self_bleu",
    "vocabulary_growth",
    "semantic_spread",
    "semantic_drift",
    "response_delay_hours",
    "rhythm_divergence_bits",
    "cascade_ks_twitter",
    "cascade_ks_reddit",
    "act_distance_to_history",
    "next_act_f1",
    "next_act_f1_most_frequent",
    "next_act_f1_history",
    "next_act_f1_trees",
    "copied_words_mean",
    "near_copy_rate",
    "membership_gap",
)

# Resampling has one seed of its own, whatever the run's: the same file gives the same figures.
_SEED = 0
_NUMERIC = ("sklearn.decomposition", "sklearn.discriminant_analysis", "sklearn.ensemble", "scipy.linalg")


@dataclass(frozen=True)
class RunMeasurements:
    """The measurements of one run and what they belong to.

    Attributes:
        source: The path or URL that was measured.
        completed_timesteps: Timesteps that are complete; below `timesteps` where the run was interrupted.
        config: Everything else that decided the run, by setting.
        text_encoder: Encoder of the text similarities; None where nothing was written.
        measurements: By name, in the order of `MEASUREMENTS`.
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
    text_encoder: str | None
    measurements: dict[str, Measurement]

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
            },
            "measurements": {name: figure.to_json() for name, figure in self.measurements.items()},
            "methods": {
                "text_encoder": self.text_encoder,
                "interval": "95% percentile bootstrap, over agents (cascades: over cascades)",
            },
        }


def measure_run(source: Path | str) -> RunMeasurements:
    """Measure a run.

    Args:
        source: Path of an SQLite file, or any SQLAlchemy URL.

    Raises:
        MetricsError: The file is missing, is not a database or is not a Polyphony run.
    """
    run = load_run(source)
    # One thread: results do not depend on the cores, and runs measured side by side do not wait for each other. The
    # limit holds for what is loaded by then.
    for library in _NUMERIC:
        import_module(library)
    with threadpool_limits(1):
        encoder, figures = _measure(run)
    return RunMeasurements(
        source=run.name,
        arm=run.arm,
        agents=len(run.agents),
        timesteps=run.timesteps,
        completed_timesteps=run.completed_timesteps,
        seed=run.seed,
        status=run.status,
        digest=run_digest(source),
        population=run.population,
        population_digest=run.population_digest,
        config=run.config,
        text_encoder=encoder,
        measurements=figures,
    )


def _measure(run: RunData) -> tuple[str | None, dict[str, Measurement]]:
    encoded, by_characters = encode_texts(run), encode_texts(run, "characters")
    figures: dict[str, Measurement] = {
        **activity(run, _generator("activity")),
        **act_diversity(run, _generator("acts")),
        **communities(run, _generator("communities")),
        **attribution(run, _generator("attribution")),
        **cascades(run, _generator("cascades")),
        **inequality(run, _generator("inequality")),
        **planted_agreement(run, _generator("planted")),
        **distinct(run, _generator("distinct")),
        "within_community_homophily": within_community_homophily(run, encoded, _generator("within")),
        "exposure_adjusted_homophily": exposure_adjusted_homophily(run, encoded, _generator("exposure")),
        "near_duplicate_rate": near_duplicate_rate(run, _generator("near duplicates")),
        "reciprocity": reciprocity(run, _generator("reciprocity")),
        "vendi": vendi(encoded, _generator("vendi")),
        **leiden_check(run),
        **other_communities(run, _generator("other graphs")),
        **semantic_spread(encoded, _generator("spread")),
        **cascade_distance(run, _generator("references")),
        **next_act(run, _generator("next act")),
        **memorisation(run, _generator("memorisation")),
        "community_persistence": community_persistence(run),
        "within_community_homophily_characters": within_community_homophily(
            run, by_characters, _generator("within characters")
        ),
        "stance_spread": stance_spread(run, _generator("stance")),
        "self_bleu": self_bleu(run, _generator("self-BLEU")),
        "vocabulary_growth": vocabulary_growth(run, _generator("vocabulary")),
        "response_delay_hours": response_delay(run, _generator("delay")),
        "rhythm_divergence_bits": rhythm_divergence(run, _generator("rhythm")),
        "act_distance_to_history": act_distance(run, _generator("act distance")),
    }
    absent = missing("the run has no agents")
    return encoded.encoder, {name: figures.get(name, absent) for name in MEASUREMENTS}


def _generator(purpose: str) -> np.random.Generator:
    """A generator of its own for each subject, so that a new measurement moves no other."""
    return np.random.default_rng([_SEED, zlib.crc32(purpose.encode())])
