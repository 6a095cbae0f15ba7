"""``python -m polyphony`` is the `simulate` command."""

from polyphony.import_path import leave_current_folder

leave_current_folder()

from polyphony.simulation.cli.main import main  # noqa: E402 - only now are a user's own files out of the way

main()
