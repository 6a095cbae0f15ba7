"""One module a family of recommenders; importing this package registers them."""

from polyphony.simulation.feed.recommenders import baselines, collaborative, content, popularity

__all__ = ["baselines", "collaborative", "content", "popularity"]
