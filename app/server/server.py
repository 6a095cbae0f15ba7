"""Streamlit's server, with what the pages need loaded before the first visitor comes."""

from importlib import import_module

from streamlit.web import cli

from polyphony.app.server.main import PAGES


def main() -> None:
    """Run Streamlit's command line."""
    for page in PAGES:
        import_module(f"polyphony.app.pages.{page.lower()}")
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()
