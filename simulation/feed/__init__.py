"""What agents are shown: recommenders and the feed that is made of their scores."""
