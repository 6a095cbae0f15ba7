"""Agent-based social simulation in which every agent owns its own trained weights."""
