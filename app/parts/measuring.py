"""Measuring a run while its page is shown: the work goes on in a thread, and the page says how far it is."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import streamlit as st

from polyphony.app.parts.escape import markup

if TYPE_CHECKING:
    from polyphony.metrics.measure import RunMeasurements

_SECONDS = 0.2
"""How often the page looks at the work, and how long a run may take to measure without a bar."""


class Measuring:
    """The measurements of one run, begun at once; a page that is left or drawn anew does not stop them."""

    def __init__(self, measure: "Callable[[Callable[[int, int, str], None]], RunMeasurements]") -> None:
        """Begin.

        Args:
            measure: Takes what it is to call with the measurements done, those in all and the title of the present one.
        """
        self._future: Future[RunMeasurements] = Future()
        self._reached = 0, 0, ""
        Thread(target=self._work, args=(measure,), daemon=True).start()

    def shown(self, path: Path) -> "RunMeasurements":
        """Wait for the measurements, with a bar on the page for as long as that takes.

        Args:
            path: The run, whose name stands at the bar.

        Raises:
            MetricsError: The run cannot be measured.
        """
        words, bar = st.empty(), st.empty()
        while not wait_for([self._future], _SECONDS).done:
            done, total, title = self._reached
            text = f"{done} of {total} measurements done, now: {title}" if total else "reading the run"
            words.html(f'<div class="pp"><p class="note">{markup(f"{path.name}: {text}")}</p></div>')
            bar.progress(done / max(total, 1))
        words.empty()
        bar.empty()
        return self._future.result()

    def _work(self, measure: "Callable[[Callable[[int, int, str], None]], RunMeasurements]") -> None:
        try:
            self._future.set_result(measure(self._report))
        except BaseException as error:  # raised again on the page that waits
            self._future.set_exception(error)

    def _report(self, done: int, total: int, title: str) -> None:
        self._reached = done, total, title
