"""Fitting a simulation to one period of a corpus, and scoring it on the next."""
