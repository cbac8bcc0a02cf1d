"""docs/study.md and its figures are those of the kept summaries, and these hold no name and no path."""

from __future__ import annotations

import json
import re

import pytest

from cagul.report.study_charts import draw, standalone
from documents import ROOT, page_maker

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def make_study():
    return page_maker("make_study")


def drawn(svg):
    """Without the style sheet, which every figure carries whole."""
    return re.sub("<style>.*?</style>", "", svg, flags=re.DOTALL)


def test_the_page_and_its_figures_are_fresh(make_study):
    studies = make_study.kept()
    assert list(studies)[0] == "demo"
    written = make_study.page(studies, make_study.findings(studies))
    assert (DOCS / "study.md").read_text() == written, "docs/study.md is stale: run `make docs` and commit it"
    shown = 0
    for name, study in studies.items():
        for figure, chart in draw(study).items():
            assert drawn((DOCS / "study" / f"{name}-{figure}.svg").read_text()) == drawn(standalone(chart)), (
                name,
                figure,
            )
            assert f"study/{name}-{figure}.svg" in written
            shown += 1
    assert shown >= 5


def test_a_kept_summary_names_nobody_and_no_place(make_study, tmp_path):
    for name in make_study.kept():
        text = (DOCS / "study" / f"{name}.json").read_text()
        assert not re.search(r"/(home|root|work|tmp|usr)/|[ps]\d{3}_?", text)
    run = tmp_path / "run"
    run.mkdir()
    (run / "summary.json").write_text(json.dumps({"host": {"name": "/home/somebody/host", "layers": 4}}))
    make_study.KEPT = tmp_path
    make_study.take("mine", run, "my host")
    assert json.loads((tmp_path / "mine.json").read_text()) == {"title": "my host", "host": {"layers": 4}}
