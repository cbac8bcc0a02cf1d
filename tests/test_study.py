"""``cagul study``: on tiny hosts of several families, resumed after a stop, its figures by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

from cagul.config import load_config
from cagul.data.grouping import evenly_spaced
from cagul.data.records import load_records, split_records
from cagul.errors import DataError, HostError, UsageError
from cagul.evaluation.metrics.text_metrics import pareto
from cagul.evaluation.run_folder import Run
from cagul.method.selection import choose
from cagul.report.study_charts import FIGURES, draw, standalone, write_figures
from cagul.study.pairs import StudySample, beside, draw_pairs
from cagul.study.study import QUESTIONS, study
from cagul.study.summary import bottom, curve_figures, measure_figures, summarise_study
from documents import ROOT
from families import FAMILIES

SMALL = StudySample(maps=3, causal=2, deals=2, steps=2, asked=2, misfire=2, gate_pictures=6)
CONFIG = ["training.batch=4", "gate.augment=1", "gate.augment_others=1", "encoder.hidden=16"]
RAGGED = ["llava_next", "qwen3_vl", "internvl"]  # tiles, deepstack, runs of placeholders


@pytest.fixture(scope="module")
def splits(tiny_records):
    return split_records(load_records(tiny_records), ["p0"])


@pytest.fixture(scope="module")
def whole(tiny_folder, splits, tmp_path_factory):
    from cagul.host.frozen import FrozenHost

    host = FrozenHost.load(tiny_folder)
    run = Run(tmp_path_factory.mktemp("study") / "run", {"tiny": 1})
    return host, run, study(host, splits, run, load_config("default", CONFIG), SMALL, other_host=host)


def figures_of(summary):
    """Without what differs from run to run: seconds."""
    found = json.loads(json.dumps(summary["study"]))
    found["layers"].pop("milliseconds")
    found.pop("seconds")
    for one in found["trainings"]["variants"].values():
        one.pop("seconds")
    return found


def test_every_question_is_answered_from_rows(whole):
    host, run, summary = whole
    found = summary["study"]
    assert set(found) == {
        "maps",
        "heads",
        "stability",
        "causal",
        "measures",
        "trainings",
        "layers",
        "gates",
        "seconds",
    }
    stored = json.loads((run.folder / "summary.json").read_text())
    assert stored["study"] == json.loads(json.dumps(found))
    rows = [json.loads(line) for line in (run.folder / "rows.jsonl").read_text().splitlines()[1:]]
    assert figures_of({"study": summarise_study(rows, [0, 1])}) == figures_of(summary)
    assert summary["host"]["sha256_before"] == summary["host"]["sha256_after"] == host.fingerprint()
    assert found["stability"]["private"]["another host"]["value"] == 1.0  # the same host, so the same tokens
    assert len(found["maps"]["private"]["mean_map"]) == host.layers
    # shares, of every layer and head
    assert np.allclose(np.sum(found["heads"]["private"]["maps"], axis=-1), 1, atol=1e-3)
    assert np.shape(found["heads"]["private"]["maps"])[0] == host.layers
    assert set(found["causal"]["private"]) == {"mean", "zero", "noise", "other"}
    assert {"ceiling", "attention", "gradient", "value_norm", "rollout", "occlusion", "leave_one_out"} <= set(
        found["measures"]["private"]
    )
    assert set(found["gates"]) >= {"embedding", "attention"}
    variants = found["trainings"]["variants"]
    assert len(variants) == 10 + 3 + 2
    assert variants["first 2"]["same_as"] == "bottom 0.5"  # not trained twice
    assert not list(run.folder.glob("encoder*"))


@pytest.mark.no_cover
def test_a_stopped_study_goes_on_to_the_same_figures(whole, splits, tmp_path):
    host, _, undisturbed = whole
    config, seen = load_config("default", CONFIG), []

    def stop_at(stage, done, total):
        seen.append(stage)
        if (
            stage in ("replacing tokens", "scoring with two gates", "asking random 0.25")
            and stage not in seen[:-1]
        ):
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            study(
                host,
                splits,
                Run(tmp_path / "run", {"tiny": 1}),
                config,
                SMALL,
                other_host=host,
                progress=stop_at,
            )
    run = Run(tmp_path / "run", {"tiny": 1})
    assert figures_of(study(host, splits, run, config, SMALL, other_host=host)) == figures_of(undisturbed)
    count = len(run.rows.by_key)
    again = study(host, splits, run, config, SMALL, other_host=host)
    assert (len(run.rows.by_key), figures_of(again)) == (count, figures_of(undisturbed))


@pytest.mark.parametrize("family", RAGGED)
def test_families_with_ragged_pictures(family, splits, tmp_path):
    assert RAGGED
    host = FAMILIES[family]()
    sample = StudySample(maps=2, causal=1, deals=2, asked=1, misfire=1)
    summary = study(
        host, splits, Run(tmp_path / "run", {}), load_config("default"), sample, only=["maps", "causal"]
    )
    assert set(summary["study"]) == {"maps", "heads", "stability", "layers", "causal", "measures", "seconds"}
    assert summary["study"]["measures"]["sampled_tokens"] == summary["study"]["measures"]["visual_tokens"]
    assert set(draw(summary)) == {"maps", "heads", "stability", "causal", "measures"}


def test_leave_one_out_is_sampled_and_said_so(splits, tiny_host, tmp_path):
    sample = StudySample(causal=1, deals=2, leave_one_out=5)
    found = study(
        tiny_host, splits, Run(tmp_path / "run", {}), load_config("default"), sample, only=["causal"]
    )
    assert (found["study"]["measures"]["sampled_tokens"], found["study"]["measures"]["visual_tokens"]) == (
        5,
        16,
    )


def test_refusals(splits, tiny_host, tmp_path):
    with pytest.raises(UsageError, match="The study has no question 'surfaces'. *\n.*surface"):
        study(tiny_host, splits, Run(tmp_path / "a", {}), load_config("default"), SMALL, only=["surfaces"])
    blank = split_records(
        [r.model_copy(update={"keywords": ()}) for r in splits.forget + splits.retain], ["p0"]
    )
    with pytest.raises(DataError, match="No record of a known person has keywords"):
        study(tiny_host, blank, Run(tmp_path / "b", {}), load_config("default"), SMALL)
    with pytest.raises(HostError, match="The retain host is of the family 'qwen3_vl', the host of 'llava'"):
        study(
            tiny_host,
            splits,
            Run(tmp_path / "c", {}),
            load_config("default"),
            SMALL,
            other_host=FAMILIES["qwen3_vl"](),
        )


def test_pairs_are_of_as_many_people_as_there_are(splits):
    pairs = draw_pairs(splits, 6, 0)
    assert [pair.kind for pair in pairs] == ["private"] * 6 + ["visual"] * 6
    assert len({pair.subject for pair in pairs[:6]}) == 6
    assert not {pair.subject for pair in pairs} & set(splits.subjects("unseen"))
    around = beside(pairs[0], splits, 0)
    assert {"copy", "view 0", "view 1", "question private", "question visual"} <= set(around)
    assert around == beside(pairs[0], splits, 0)


def test_the_bottom_is_what_selection_marks():
    importance = torch.rand(40, generator=torch.Generator().manual_seed(1))
    importance[7] = importance[3]
    mask = choose("bottom", importance[None], torch.ones(1, 40, dtype=torch.bool), 0.25)[0]
    assert bottom(importance.numpy(), 0.25) == frozenset(mask.nonzero().flatten().tolist())
    assert evenly_spaced(4) == [0, 1, 2, 3]
    assert evenly_spaced(28) == [0, 5, 11, 16, 22, 27]


def curve_row(pair, how, share, recall, measure="attention"):
    named = {"measure": measure, "how": how, "filler": "mean" if how != "none" else "", "share": share}
    return {
        "key": f"causal/private/{pair}/{how}/{share}",
        "kind": "private",
        "subject": f"p{pair}",
        "recall": recall,
        "log_probability": math.log(max(recall, 1e-9)),
        "divergence": 0.0,
    } | named


def test_areas_by_hand():
    rows = []
    for pair in (0, 1):
        rows += [curve_row(pair, "none", 0.0, 1.0, ""), curve_row(pair, "all", 1.0, 0.0, "")]
        rows += [
            curve_row(pair, "top", 0.5, 0.0),
            curve_row(pair, "bottom", 0.5, 1.0),
            curve_row(pair, "random", 0.5, 0.5),
        ]
    areas = curve_figures(rows)["private"]["mean"]["areas"]
    assert {name: one["value"] for name, one in areas.items()} == {
        "deletion": 0.25,
        "insertion": 0.75,
        "random": 0.5,
    }


def test_agreement_with_what_tokens_do_by_hand():
    effect = {
        "kind": "private",
        "sampled": 4,
        "visual_tokens": 4,
        "effect": [1.0, 2.0, 3.0, 4.0],
        "halves": [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]],
        "measures": {"attention": [4.0, 3.0, 2.0, 1.0], "rollout": [1.0, 1.0, 1.0, 1.0]},
    }
    found = measure_figures([effect | {"subject": name} for name in ("p0", "p1")], [])["private"]
    assert found["attention"]["rank_correlation"]["value"] == pytest.approx(-1.0)
    assert found["rollout"]["rank_correlation"]["left_out"] == 2  # it tells no token from another
    assert found["ceiling"]["value"] == pytest.approx(math.sqrt(2 * 0.8 / 1.8))


def test_the_front_by_hand():
    points = {"a": (0.1, 0.5), "b": (0.2, 0.5), "c": (0.0, 0.1), "d": (0.1, 0.4)}
    assert pareto(points) == ["c", "a"]


def test_figures_are_whole_svg_with_words(whole, tmp_path):
    _, _, summary = whole
    charts = draw(summary)
    assert list(charts) == list(FIGURES)
    assert len(charts) == 6
    paths = write_figures(summary, tmp_path)
    for path, (name, chart) in zip(paths, charts.items(), strict=True):
        assert path.name == f"{name}.svg"
        text = path.read_text()
        assert text == standalone(chart)
        root = ET.fromstring(text)
        parts = {child.tag.rpartition("}")[2]: child for child in root}
        assert len(parts["title"].text) > 10
        assert len(parts["desc"].text) > 40
        assert root.get("aria-labelledby") == f"{name}-title {name}-desc"
        assert "prefers-color-scheme: dark" in parts["style"].text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert not np.any([word in text for word in ("nan", "p0", "Finch", "Oslo")])


def test_a_summary_names_nobody(whole):
    _, run, summary = whole
    text = json.dumps(summary["study"])
    assert not [word for word in ("Ada", "Finch", "Oslo", "p0_", "p1_", '"p0"') if word in text]
    assert (run.folder / "rows.jsonl").stat().st_mode & 0o777 == 0o600
    assert set(QUESTIONS) == {"maps", "causal", "measures", "layers", "gate", "surface"}


@pytest.mark.slow
def test_the_demos_maps_are_those_of_the_page(demo, tmp_path):
    """The command of the page's first three figures, again: the figures that it states."""
    command = [
        sys.executable,
        "-m",
        "cagul",
        "study",
        "--out",
        str(tmp_path / "run"),
        "--only",
        "maps",
        "--threads",
        "1",
        "--json",
    ]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    kept = json.loads((ROOT / "docs" / "study" / "demo.json").read_text())["study"]
    assert len(found["figures"]) == 3
    for kind in ("private", "visual"):
        for name, figure in kept["stability"][kind].items():
            assert found["study"]["stability"][kind][name]["value"] == pytest.approx(
                figure["value"], abs=0.01
            )
        assert np.allclose(
            found["study"]["maps"][kind]["mean_map"], kept["maps"][kind]["mean_map"], atol=1e-3
        )
    said = subprocess.run([*command[:-1], "--only", "surfaces"], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "The study has no question 'surfaces'" in said.stderr
