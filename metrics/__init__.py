"""Measurements on run databases, and their comparison between arms; reads only."""
