"""One prompt for training and simulation: grammar of the verbs, prompts, act scoring, examples and their scores."""
