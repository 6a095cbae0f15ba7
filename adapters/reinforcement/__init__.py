"""Reinforcement of many adapters at once: tasks with a reward, groups of samples, one optimiser for each adapter."""
