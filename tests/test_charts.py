"""Charts of measurements: what a difference looks like."""

import pytest

from polyphony.app.parts.charts import evidence_chart
from polyphony.metrics.studies.evidence import Evidence, FigureRow

COLOURS = {"base": "#000000", "lora": "#ff0000"}


def drawn(measurement, *values, low=None, high=None):
    """The range of the axis of a chart of two arms, one run each."""
    rows = [FigureRow(arm, 8, 0, measurement, value, low, high) for arm, value in zip(COLOURS, values, strict=True)]
    chart = evidence_chart(Evidence("base", tuple(COLOURS), (8,), tuple(rows), (), None), measurement, COLOURS)
    return chart.layout.yaxis.range


@pytest.mark.parametrize(
    ("measurement", "values", "expected"),
    [
        ("original_post_share", (0.50, 0.51), (0.455, 0.555)),
        ("original_post_share", (0.0, 0.01), (0.0, 0.1)),
        ("modularity", (-0.02, 0.02), (-0.05, 0.05)),
        ("original_posts", (100, 101), (87.875, 113.125)),
        ("original_posts", (0, 0), (0, 0)),
    ],
)
def test_a_small_difference_does_not_fill_a_chart(measurement, values, expected):
    if expected == (0, 0):
        assert drawn(measurement, *values) is None, "nothing is to be seen in any range"
    else:
        assert drawn(measurement, *values) == pytest.approx(expected)


def test_a_large_difference_or_a_wide_interval_decides_the_range_itself():
    assert drawn("original_post_share", 0.3, 0.5) is None
    assert drawn("original_post_share", 0.50, 0.51, low=0.4, high=0.6) is None
    assert drawn("a_plugins_own", 1.0, 1.1) == pytest.approx((0.9125, 1.1875))
    assert drawn("original_post_share", None, None) is None
