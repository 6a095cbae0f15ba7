"""The dashboard over run databases; reads only."""
