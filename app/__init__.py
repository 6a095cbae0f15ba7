"""The dashboard over run files; reads only. Sub-rooms: `parts`, `pages`, `server`."""
