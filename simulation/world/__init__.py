"""The platform, what may be done on it, and its clock. Knows no policy and no file."""
