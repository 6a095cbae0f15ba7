"""``python -m simulation`` is the `simulate` command."""

from simulation.cli import main

main()
