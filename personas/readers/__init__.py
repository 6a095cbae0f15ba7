"""One file a format: from an export, a dump or a table to rows of posts. Knows no model."""
