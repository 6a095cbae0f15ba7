"""The platform with its parts, the acts on it, and its clock. Knows no policy and no file."""
