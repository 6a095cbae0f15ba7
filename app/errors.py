"""The one error of this room."""


class AppError(Exception):
    """The dashboard cannot start; the text is one line that says what to do."""
