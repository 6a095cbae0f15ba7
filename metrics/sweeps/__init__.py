"""Reports of reinforcement sweeps, from the results that a sweep wrote."""
