"""Streamlit's server, with what the pages need loaded before the first visitor comes."""

import json
import os
from importlib import import_module

from streamlit.web import cli

from polyphony.app.server.launch import PLUGINS
from polyphony.app.server.main import PAGES
from polyphony.plugins import load_plugins


def main() -> None:
    """Load plug-ins and pages, and run Streamlit's command line."""
    load_plugins(json.loads(os.environ.get(PLUGINS, "[]")))
    for page in PAGES:
        import_module(f"polyphony.app.pages.{page.lower()}")
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()
