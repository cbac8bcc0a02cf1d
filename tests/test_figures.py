"""One formatter of figures: value, interval, sign, and the reason why something is absent."""

import pytest

from cagul.evaluation.metrics.figures import FigureText, figure_text, format_figure

LEAK = {"value": 0.8125, "low": 0.7, "high": 0.9049, "n": 1200}


@pytest.mark.parametrize(
    ("figure", "options", "expected"),
    [
        (LEAK, {}, "0.812 (0.70 to 0.90)"),
        (LEAK, {"between": "–"}, "0.812 (0.70–0.90)"),
        (LEAK, {"interval": " [dim]{}[/]", "between": "-"}, "0.812 [dim]0.70-0.90[/]"),
        (LEAK, {"interval": ""}, "0.812"),
        (LEAK, {"digits": 2, "interval_digits": 3, "interval": " {}"}, "0.81 0.700 to 0.905"),
        (LEAK, {"sign": True, "between": "–"}, "+0.812 (+0.70 to +0.90)"),
        ({"value": -0.25, "low": -0.5, "high": 0.0, "n": 4}, {"between": "–"}, "-0.250 (-0.50 to 0.00)"),
        ({"value": 0.5, "n": 1, "interval": "absent: one person gives none"}, {}, "0.500"),
        ({"value": 1.25e-5, "n": 32}, {}, "1.25e-05"),
        ({"value": 0.0, "low": 0.0, "high": 0.2, "n": 4}, {}, "0.000 (0.00 to 0.20)"),
        ({"value": 0.8187, "low": 0.8186, "high": 0.81884, "n": 4}, {}, "0.819 (0.8186 to 0.8188)"),
        ({"absent": "no retain host was given"}, {}, "absent (no retain host was given)"),
        ({"absent": "no retain host was given"}, {"absent": "absent"}, "absent"),
        ({"absent": "no retain host was given"}, {"absent": ""}, ""),
        ({}, {}, "absent (not measured)"),
        (None, {"absent": ""}, ""),
    ],
)
def test_a_figure_is_one_text(figure, options, expected):
    assert format_figure(figure, **options) == expected


def test_the_parts_of_a_figure_name_their_reasons():
    assert figure_text(LEAK | {"left_out": 3}) == FigureText(
        value="0.812", interval="0.70 to 0.90", n="1,200 (3 left out)"
    )
    alone = {"value": 0.5, "n": 1, "interval": "absent: one person gives none"}
    assert figure_text(alone) == FigureText(value="0.500", no_interval="one person gives none", n="1")
    assert figure_text({"absent": "no rows", "left_out": 2}) == FigureText(n="2 left out", absent="no rows")


def test_a_figure_says_how_many_answers_nobody_can_judge():
    judged = LEAK | {"unjudged": 1003}
    assert format_figure(judged) == "0.812 (0.70 to 0.90), 1,003 not judged"
    assert (figure_text(judged).n, figure_text(judged).unjudged) == ("1,200", "1,003 not judged")
    assert figure_text({"absent": "why", "unjudged": 2}).unjudged == "2 not judged"


def test_a_figure_of_the_report_is_formatted_like_its_mapping():
    from cagul.report.reading import Figure

    read = Figure.model_validate(LEAK)
    assert figure_text(read.model_dump()) == figure_text(LEAK)
    assert figure_text(Figure(absent="no rows").model_dump()).absent == "no rows"
