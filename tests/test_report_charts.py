"""Charts and what they say in words."""

from __future__ import annotations

from cagul.report.charts import overlay, roc, roc_points, score_histograms
from made_runs import Outline


def test_charts_say_in_words_what_they_draw():
    groups = {"forget": [(0.9, True), (0.4, False)], "a < b": [(0.1, False)]}
    drawn = str(score_histograms(groups, 0.5))
    Outline(drawn)
    assert "forget: 1 of 2 pictures fire; a &lt; b: 0 of 1 pictures fire." in drawn
    assert drawn.count('class="series-') == 2
    Outline(str(score_histograms({"forget": [(0.5, False)]}, 0.5)))  # no width at all
    curve = str(roc("roc", [0.9, 0.4], [0.1, 0.2, 0.6, 0.3], 0.5))
    Outline(curve)
    assert "At the threshold 50.0% of 2 forget pictures and 25.0% of 4 unseen ones fire." in curve
    assert roc_points([0.9, 0.4], [0.1, 0.6]) == [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]
    assert "M1 1h1v1h-1zM0 0h1v1h-1z" in str(overlay(2, [3, 0]))
