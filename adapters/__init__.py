"""One base model, many adapters.

Sub-rooms, each resting on those before it: `model`, `prompting`, `bank`, `training`, `engine`, `evaluation`.
"""
