"""Curves and reports of votes, from the answers that a vote stored."""
