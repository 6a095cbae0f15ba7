"""What pages are made of: library of runs, charts, tables, escaping, style."""
