"""Arms against each other: comparisons, studies, reports."""
