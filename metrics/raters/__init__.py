"""Are simulated texts told from real ones: by a classifier, and by human raters."""
