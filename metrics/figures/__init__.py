"""The measurements themselves, a subject a file."""
