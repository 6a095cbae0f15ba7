"""Errors that every room above `personas` may raise.

PolyphonyError
├── InputError    the user's input or environment is wrong; the command line exits with 2
└── Interrupted   work stopped on request and can be resumed; the command line exits with 3
"""


class PolyphonyError(Exception):
    """Base of every error that Polyphony raises on purpose; its text is one line for a person."""


class InputError(PolyphonyError):
    """Something the user gave is wrong: the text names the file, the row and the remedy."""


class Interrupted(PolyphonyError):
    """The work was stopped between two safe points; the text says how to resume it."""
