"""What `polyphony` publishes: runs, studies and comparisons for scripts and notebooks. It rests on every room."""
