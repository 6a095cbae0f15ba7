"""People's histories, replayed through the platform and its feeds: what they were shown when they acted."""
