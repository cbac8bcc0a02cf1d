"""Selection and K set against each other: which methods are on the surface, its figures, front, page and
report.
"""

from __future__ import annotations

import pytest

from cagul.comparison.methods import METHODS, BuildContext
from cagul.comparison.page import figures, page
from cagul.comparison.results import results
from cagul.comparison.surface import HALF, SELECTIONS, SURFACE, TOKEN_COUNTS
from cagul.config import Config, load_config
from made_runs import make_run, page_of
from test_comparison import KEEPS, KNOWS, LIKELY, UNLIKELY, answers, rows_of

# leak, misfire_keep
LEAKS = {"cagul": (0.0, 0.0), "cagul_k8": (0.1, 0.5), "cagul_top_k8": (0.2, 0.5), "cagul_all": (0.0, 0.25)}
TOLD = {"command": "cagul compare", "versions": {}}


def rows(**about: object) -> list[dict]:
    found = rows_of(
        {"host": (KNOWS, LIKELY)}
        | {name: (KEEPS | {"forget": leak}, UNLIKELY) for name, (leak, _) in LEAKS.items()}
    )
    for name, (_, keep) in LEAKS.items():
        forced = [
            row
            for row in answers(name, {"retain": keep})
            if row["split"] == "retain" and row["kind"] == "private"
        ]
        found += [
            row | {"key": row["key"].replace("@0/", "@0:forced/"), "method": f"{name}:forced"}
            for row in forced
        ]
    return [row | about if row["method"] == "about" else row for row in found]


def test_every_selection_is_on_the_surface_with_every_k(monkeypatch):
    assert len(SURFACE) == len(set(SURFACE.values())) == len(SELECTIONS) * len((*TOKEN_COUNTS, HALF)) + 1
    chosen = {}
    monkeypatch.setattr(
        BuildContext,
        "patch",
        lambda context, preset, settings, seed: chosen.update({settings: seed}) or 1 / 0,
    )
    for name, (choose, k) in SURFACE.items():
        assert name == "cagul" or METHODS[name].like == "cagul"
        assert METHODS[name].seeded == (name == "cagul")
        with pytest.raises(ZeroDivisionError):
            METHODS[name].build(BuildContext(None, None, None), (), 0)
        selection = load_config("default", list(list(chosen)[-1])).selection
        assert (selection.choose, selection.k) == (choose, float(k))
        assert isinstance(selection.k, float) == ("." in k)
    assert (Config().selection.choose, str(Config().selection.k)) == SURFACE["cagul"]


def test_a_surface_has_figures_a_front_a_table_and_a_chart():
    summary = results(rows())
    surface = summary["surface"]
    assert list(surface["points"]) == [name for name in SURFACE if name in LEAKS]
    for name, (leak, keep) in LEAKS.items():
        point = surface["points"][name]
        assert (point["choose"], point["k"]) == SURFACE[name]
        assert point["leak"]["value"] == pytest.approx(leak)
        assert point["misfire_keep"]["value"] == keep
        assert point["refusal_rate"] == summary["methods"][name]["forget"]["refusal_rate"]
        assert point["visual_accuracy"]["value"] == 1.0
    assert surface["pareto"] == ["cagul_all", "cagul_k8"]
    drawn = figures(summary)
    assert "3 cagul_k8: 0.100, 0.500, on the front" in drawn["surface.svg"]
    assert ">0.3</text>" in drawn["surface.svg"]  # where its axis of leak ends
    text = page(summary, TOLD, drawn, "figures")
    assert (
        "| no. | method | selection | K | leak | refusal_rate | visual_accuracy | misfire_keep | front |"
        in text
    )
    assert "| 3 | cagul_k8 | bottom | 8 | 0.100 (0.08–0.25) | " in text
    assert text.count("(figures/surface.svg)") == 1


def test_without_a_second_point_there_is_no_surface():
    alone = results(rows_of({"host": (KNOWS, LIKELY), "cagul": (KEEPS, UNLIKELY)}))
    assert alone["surface"] == {}
    assert "surface.svg" not in figures(alone)
    assert "How many tokens" not in page(alone, TOLD, {}, "figures")


def test_options_for_all_methods_that_move_the_selection_take_cagul_off_its_place():
    assert list(results(rows(settings=["selection.k=0.25"]))["surface"]["points"]) == [
        name for name in SURFACE if name in LEAKS and name != "cagul"
    ]


def test_the_report_shows_the_surface(tmp_path):
    names = ("cagul", "cagul_k8", "cagul_top")
    points = {name: {"choose": SURFACE[name][0], "k": SURFACE[name][1]} for name in names}
    run = make_run(
        tmp_path / "run",
        tmp_path / "pictures",
        methods=names,
        surface={"points": points, "pareto": ["cagul_k8"]},
    )
    written, facts = page_of(run)
    assert '<section id="surface">' in written
    assert [line.name for line in facts.surface.lines] == ["2 cagul", "3 cagul_k8", "4 cagul_top"]
    assert [line.meaning for line in facts.surface.lines] == ["", "on the front", ""]
    assert [cell.value for cell in facts.surface.lines[1].cells[:2]] == ["bottom", "8"]
    assert facts.surface.off is None  # nobody was asked with the gate forced
    _, without = page_of(make_run(tmp_path / "other", tmp_path / "pictures"))
    assert without.surface is None
