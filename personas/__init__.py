"""People read from posts.

Sub-rooms: `people` (what a person is), `readers` (one file a format), `town` (the built-in population).
"""
