"""What an evaluation measures beside the answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import cagul.evaluation.evaluate as evaluate_module
from cagul.data.records import load_records, split_records
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.questions import Sample
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from helpers import make_patch


@pytest.mark.parametrize("fires", [True, False])
def test_the_cost_of_a_silent_query_is_measured_on_a_silent_picture(tiny_host, tiny_records, tmp_path, fires):
    splits = split_records(load_records(tiny_records), ["p0"])
    run, sample = (
        Run(tmp_path / "run", {"fires": fires}),
        Sample(views=2, retain=2, unseen=2, misfire=2, gate_views=4),
    )
    cost = evaluate(tiny_host, Guard(tiny_host, make_patch(tiny_host, fires=fires)), splits, run, sample)[
        "methods"
    ]["cagul"]["cost"]
    if fires:
        assert cost["ms_a_query_silent"] == {"absent": "the gate fired on every picture tried"}
    else:
        assert all(cost[f"ms_a_query_{kind}"] > 0 for kind in ("host", "silent", "fired"))


@pytest.mark.parametrize("fires", [True, False])
def test_importance_by_layer_is_kept_of_a_sample_and_explains_what_was_chosen(
    tiny_host, tiny_records, tmp_path, fires
):
    splits = split_records(load_records(tiny_records), ["p0"])
    run, guard = Run(tmp_path / "run", {"fires": fires}), Guard(tiny_host, make_patch(tiny_host, fires=fires))
    sample = Sample(views=2, retain=4, unseen=2, misfire=2, gate_views=4, importance=1)
    evaluate(tiny_host, guard, splits, run, sample)
    kept = [row for row in run.rows.by_key.values() if row["method"] == "importance"]
    assert {row["split"] for row in kept} == ({"forget", "retain"} if fires else {"retain"})
    for row in kept:
        said = run.rows.by_key["cagul/" + row["key"].partition("/")[2]]
        assert sorted(row["layers"]) == [str(n) for n in range(tiny_host.layers)]
        assert {len(found) for found in row["layers"].values()} == {said["visual_tokens"]}
        if said["fired"]:
            mean = [
                sum(row["layers"][str(n)][v] for n in guard.patch.layers)
                for v in range(said["visual_tokens"])
            ]
            left = [value for v, value in enumerate(mean) if v not in said["chosen"]]
            assert max(mean[v] for v in said["chosen"]) <= min(left) + 1e-3


@pytest.mark.parametrize(("private", "silent"), [(100, 99), (100, 33), (20, 13), (33, 32)])
def test_silent_pictures_are_looked_for_among_the_private_questions_alone(monkeypatch, private, silent):
    """Most records are visual: the stride over all of them once skipped all private ones but the first."""
    retain = [SimpleNamespace(kind="visual", image=-1)] * 10_000
    retain += [SimpleNamespace(kind="private", image=n) for n in range(private)]
    looked = []

    def judge(picture):
        looked.append(picture)
        return [0.0 if picture >= silent else 1.0]

    host = SimpleNamespace(image_inputs=lambda pictures: pictures[0], encode_images=lambda inputs: inputs)
    guard = SimpleNamespace(
        host=host, judge=judge, recognises=lambda _: False, patch=SimpleNamespace(threshold=0.5)
    )
    monkeypatch.setattr(evaluate_module, "open_picture", lambda image: image)
    found = evaluate_module._silent_record(guard, SimpleNamespace(retain=retain))
    assert len(looked) <= 32
    assert looked == sorted(set(looked))
    if private <= 32 or silent <= 96:
        assert found.image >= silent
    assert len(looked) >= (20 if found is None else 1)
