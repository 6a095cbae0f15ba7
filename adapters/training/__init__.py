"""Training a population: the prior, then one adapter a person, many people in one pass."""
