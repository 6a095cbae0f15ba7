"""Graph data sets: runs taken out of their databases into files that other tools open."""
