"""Reads run files, OASIS databases and catalogs of banks."""
