"""People on a simulated platform.

Sub-rooms, each resting on those before it: `world`, `feed`, `policies`, `runs`, `study`, `cli`.
"""
