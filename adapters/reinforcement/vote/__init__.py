"""A population of adapters that votes, and the same number of answers by other means."""
