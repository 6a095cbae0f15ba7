"""``make screenshots``: every page of the dashboard, over the demonstration study, into docs/."""

import sys
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.browser import PAGES, View, chromium, served

ROOT = Path(__file__).resolve().parent.parent
WIDTH, TALLEST = 1280, 1500
# The first that README shows: at the height of a laptop's screen.
SCREEN = 800


def main() -> None:
    bank = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    options = [] if bank is None else ["--bank", str(bank)]
    with chromium() as browser, served(ROOT / "data" / "demo", *options) as server:
        for name in PAGES:
            if name == "Bank" and bank is None:
                continue
            view = View(browser, server.url, color_scheme="light")
            view.open(name)
            view.page.set_viewport_size({"width": WIDTH, "height": _height(view.page)})
            view.settle(name)
            view.page.wait_for_timeout(1_000)  # grids of tables draw themselves anew
            view.page.screenshot(path=ROOT / "docs" / f"dashboard-{name.lower()}.png")
            view.page.close()
        view = View(browser, server.url, color_scheme="dark", viewport={"width": WIDTH, "height": SCREEN})
        view.open("Network")
        view.page.screenshot(path=ROOT / "docs" / "dashboard-dark.png")
        view.page.close()


def _height(page: Page) -> int:
    wanted = page.evaluate(
        "Math.max(...[...document.querySelectorAll('[data-testid=stMain]')].map(each => each.scrollHeight))"
    )
    return min(int(wanted) + 20, TALLEST)


if __name__ == "__main__":
    main()
