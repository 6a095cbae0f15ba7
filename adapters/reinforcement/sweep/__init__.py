"""A sweep of ranks, starts and rates whose plan is written down before it runs."""
