"""What the tables and columns of a data set mean; the card and the metadata both say it."""

TABLES = {
    "runs": "One row a run: what made it.",
    "nodes": "One row a user of a run: agents, and accounts that only stand there.",
    "edges": "One row an act of a user upon another, or a post or reply shown to a user.",
    "posts": "One row a post, repost, quote or reply, with the thread it stands in.",
    "activations": "One row an activation of an agent, with the policy's own distribution over the acts.",
}

COLUMNS = {
    "run": "number of the run in this data set",
    "arm": "which weights the agents had: lora (own adapters), base, pooled, shuffled and so on",
    "runs.seed": "key of the run's random draws; runs of the same seed are paired",
    "runs.agents": "agents of the run",
    "runs.timesteps": "timesteps of the run",
    "runs.minutes_per_timestep": "simulated minutes of a timestep",
    "runs.started_at": "simulated moment of timestep 0",
    "runs.population": "name of the population, or of its file; none where real people are withheld",
    "runs.population_digest": "SHA-256 of the people and their histories",
    "runs.base_model": "the frozen base model",
    "runs.base_hash": "SHA-256 of the base model's weights",
    "runs.bank_digest": "SHA-256 of the adapters used",
    "runs.digest": "SHA-256 of the run's rows, as `simulate digest` prints it",
    "runs.config": "JSON: the settings that decided the run",
    "runs.versions": "JSON: versions and machine",
    "nodes.node": "number of the user within its run",
    "nodes.agent_id": "number of the agent; none for an account that is no agent",
    "nodes.kind": "agent or account",
    "nodes.handle": "handle, pseudonym or number, see below",
    "nodes.persona": "description that the agent's prompt carries",
    "nodes.adapter_id": "the agent's adapter; none where it has none",
    "nodes.revision": "revision of the adapter",
    "nodes.split": "part for node tasks: train, validation or test; the same in every run of the same people",
    "nodes.planted_community": "community that the population was made with, where it is known",
    "nodes.community": "Louvain community of the whole run's interaction graph; none without an interaction",
    "nodes.history_acts": "acts in the person's training history",
    "edges.source": "user who acted, or was shown the post or reply",
    "edges.target": "user acted upon, or author of what was shown; of a reply, who wrote what it answers",
    "edges.kind": "follow, reply, repost, quote, like or exposure",
    "edges.timestep": "timestep; -1 for the starting graph",
    "edges.time": "simulated moment",
    "edges.split": "part for link tasks, by time: train, validation or test",
    "edges.post": "post or reply acted upon or shown; none for a follow",
    "edges.made": "post or reply that the act made",
    "edges.position": "place in the feed, from 1; exposures only",
    "edges.feed_source": "why it was shown: notification, followee, recommended and so on; exposures only",
    "edges.score": "the recommender's score; exposures only",
    "posts.post": "name: p and a number for posts, reposts and quotes, c and a number for replies",
    "posts.kind": "post, repost, quote or reply",
    "posts.author": "user who wrote it",
    "posts.text": "its author's own words; empty for a repost",
    "posts.parent": "post or reply that it answers, or post that it quotes or repeats",
    "posts.root": "first post of its thread",
    "posts.is_seed": "whether it stood there before the first timestep, or a scenario posted it",
    "posts.timestep": "timestep; -1 where it stood there before",
    "posts.time": "simulated moment; of a seed post when it was written, none where real people are withheld",
    "posts.likes": "likes at the end",
    "posts.shares": "reposts and quotes at the end",
    "activations.activation": "number of the activation within its run",
    "activations.node": "user who was activated",
    "activations.timestep": "timestep",
    "activations.adapter_id": "adapter that decided",
    "activations.revision": "revision of that adapter",
    "activations.act": "verb that was chosen",
    "activations.target_post": "post or reply that the act was about",
    "activations.target_node": "user that the act was about",
    "activations.made": "post or reply that the act made",
    "activations.outcome": "ok, refused or failed",
    "activations.reason": "why it was refused or failed",
    "activations.prompt_tokens": "tokens read",
    "activations.output_tokens": "tokens written",
}

_PATTERNS = {
    "nodes.community_": "Louvain community of one window's interaction graph; windows are equal parts of the run",
    "nodes.history_": "share of this act in the person's training history",
    "nodes.feature_": "mean vector of the person's training texts (latent semantic analysis, length 1); each set of "
    "people has a space of its own",
    "activations.p_": "probability of this verb before sampling; none where the policy logged no distribution",
}


def meaning(table: str, column: str) -> str:
    """What a column holds."""
    full = f"{table}.{column}"
    if full in COLUMNS:
        return COLUMNS[full]
    for prefix, text in _PATTERNS.items():
        if full.startswith(prefix):
            return text
    return COLUMNS[column]
