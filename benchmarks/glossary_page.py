"""Writes docs/measurements.md from the registry of measurements: ``python -m benchmarks.glossary_page``."""

from pathlib import Path

from polyphony.metrics.core.glossary import glossary_page

PAGE = Path(__file__).parents[1] / "docs" / "measurements.md"


def main() -> None:
    """Write the page."""
    PAGE.write_text(glossary_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
