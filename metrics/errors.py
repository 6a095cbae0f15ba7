"""The one error of this room."""


class MetricsError(Exception):
    """A run cannot be read, measured or compared; the text is one line that names the file and the remedy."""
