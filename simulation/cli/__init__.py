"""The `simulate` command: options in, one line for every foreseen error out."""
