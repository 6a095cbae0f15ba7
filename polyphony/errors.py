"""Errors that Polyphony raises on purpose: one tree for all rooms.

PolyphonyError             the text is one line for a person
└── InputError             the user's input or environment is wrong; the command line exits with 2
    ├── CutError           a file is cut off or damaged from some place on
    ├── UnforeseenContent  a reader failed at what it did not foresee
    ├── NotPromoted        the evaluation of an adapter's revision speaks against it
    ├── MetricsError       a run cannot be read, measured or compared
    └── AppError           the dashboard cannot start

An interrupt is Python's own KeyboardInterrupt; the command line exits with 3, for work can be resumed. Any other
exception is a fault of ours; the command line exits with 1.
"""


class PolyphonyError(Exception):
    """Base of every error that Polyphony raises on purpose; its text is one line for a person."""


class InputError(PolyphonyError):
    """Something the user gave is wrong: the text names the file, the row and the remedy."""


class CutError(InputError):
    """A file is cut off or damaged from some place on; what stands before that place may be used."""


class UnforeseenContent(InputError):
    """A reader failed at something in a file that nobody foresaw; the reader's exception is its cause."""


class NotPromoted(InputError):
    """The evaluation of an adapter's revision speaks against letting it serve; the text says why."""


class MetricsError(InputError):
    """A run cannot be read, measured or compared; the text names the file and the remedy."""


class AppError(InputError):
    """The dashboard cannot start; the text says what to do."""
