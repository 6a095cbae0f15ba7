"""Measurements on run files, and their comparison between arms; reads only.

Sub-rooms: `runfile`, `core`, `figures`, `studies`, `dataset`.
"""
