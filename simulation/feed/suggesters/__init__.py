"""Ways to suggest whom to follow, one module a family; importing this package registers them."""

from polyphony.simulation.feed.suggesters import baselines, content, neighbours

__all__ = ["baselines", "content", "neighbours"]
