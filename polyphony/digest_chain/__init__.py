"""The digest chain of a run file: each transaction's link vouches for its rows and for all links before it.

A link holds a SHA-256 for each table:

- ``rows``: what a transaction inserted and nothing changes later, in the order of the keys (posts, replies,
  activations, exposures, the trace, checkpoints, ...). A row belongs to the first link that reaches its timestep; a
  table without timesteps (agents, histories) to the first link.
- ``state``: what later transactions change or delete (the row of `run`, follows, likes, groups, counts), as the link's
  transaction left it. It is the sum of the SHA-256 of all rows modulo 2^256, as in Bellare & Micciancio 1997, "A new
  paradigm for collision-free hashing" (AdHASH), so that a transaction reads only the rows that it changes.
- ``schema``: the definitions of all covered tables.

The digest of a link covers these and the digest before it. Whoever edits a file can compute a new chain: it recognises
damage and careless edits, and is no signature. `run.status`, `timing` and `migration` are not covered.
"""
