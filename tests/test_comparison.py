"""The parts of a comparison that need no host: rows parted, grids widened, methods set side by side, claims,
packing.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cagul.comparison.claims import claims, within
from cagul.comparison.contrasts import (
    MethodRows,
    difference_of,
    ks_statistic,
    ks_to,
    mia_distance,
    over_people,
    value,
)
from cagul.comparison.packing import pack, unpack
from cagul.comparison.page import figures, page
from cagul.comparison.results import ABOUT, DONE, results, trial_name
from cagul.comparison.tuning import Trial, best, label, rule_score, rule_terms, wider
from cagul.comparison.validation_split import part_of, validation_third
from cagul.data.records import Record, split_records
from cagul.errors import DataError
from cagul.evaluation.metrics.membership import auroc

PEOPLE = {f"{split[0]}{n}": split for split in ("forget", "retain", "unseen") for n in range(20)}


def record(subject: str, image: int = 0, question: str = "Who?", **more) -> Record:
    return Record(
        subject=subject, image=Path(f"{subject}_{image}.png"), question=question, answer=f"{subject}.", **more
    )


# -- validation and test


def test_validation_and_test_share_no_question_on_a_picture_and_no_retained_person():
    records = [
        record(s, n, q, views=(Path(f"{s}_v{n}.png"),))
        for s in "abcdefgh"
        for n in range(3)
        for q in ("Who?", "Where?")
    ]
    splits = split_records(records, ["a", "b"], ["g", "h"])
    parts = [part_of(splits, part) for part in ("validation", "test")]
    asked = [{(r.subject, r.image, r.question) for r in part.forget} for part in parts]
    assert [len(found) for found in asked] == [4, 8]  # two people, two and four of six pairs
    assert not asked[0] & asked[1]
    assert len(asked[0] | asked[1]) == 12
    views = [{view for r in part.forget for view in r.views} for part in parts]
    assert not views[0] & views[1]
    for split, people in (("retain", 4), ("unseen", 2)):
        found = [set(part.subjects(split)) for part in parts]
        assert found[0]
        assert not found[0] & found[1]
        assert len(found[0] | found[1]) == people


def test_phrasings_of_one_question_are_in_one_part():
    ways = [("Who?", ("Name?",)), ("Name?", ()), ("Whose face?", ("Name?", "Who is it?"))]
    facts = [
        (f"{fact} {question}", tuple(f"{fact} {more}" for more in others))
        for fact in range(9)
        for question, others in ways
    ]
    records = [
        record(s, 0, question, paraphrased_questions=others) for s in "abcd" for question, others in facts
    ]
    splits = split_records(records, ["a", "b"])
    asked = [
        {
            (r.subject, way)
            for r in part_of(splits, part).forget
            for way in (r.question, *r.paraphrased_questions)
        }
        for part in ("validation", "test")
    ]
    # four ways to ask each of nine questions
    assert [len(found) for found in asked] == [2 * 3 * 4, 2 * 6 * 4]
    assert not asked[0] & asked[1]


def test_too_few_records_to_tune_on_are_refused():
    splits = split_records([record("a"), record("b"), record("c")], ["a"])
    with pytest.raises(DataError) as caught:
        part_of(splits, "validation")
    assert str(caught.value) == (
        "The validation part has no private record of forget: its 1 subject(s) have too few.\n"
        "  Tuning needs rows of its own: give two people to retain, and two private questions or pictures "
        "of each person to forget."
        "\n  docs/errors.md#empty-part"
    )
    splits = split_records([record("a"), record("a", 1), record("b")], ["a"])
    with pytest.raises(DataError, match="no private record of retain: its 1 subject"):
        part_of(splits, "validation")


@given(st.sets(st.text(max_size=5), max_size=12))
def test_a_third_is_dealt_whatever_the_order(things):
    dealt = validation_third(things)
    assert dealt == validation_third(sorted(things, reverse=True))
    assert dealt <= things
    assert len(dealt) == (max(1, len(things) // 3) if len(things) > 1 else 0)


# -- grids and the rule


def test_a_winner_at_an_edge_widens_the_grid_by_its_own_factor():
    rates = [(("rate", rate),) for rate in (1e-4, 3e-4, 1e-3)]
    assert wider(rates, rates[2]) == (("rate", 3.33e-3),)
    assert wider(rates, rates[0]) == (("rate", 3.33e-5),)
    assert wider(rates, rates[1]) is None
    weights = [(), (("blend", 0.3),), (("preference", 0.3),), (("blend", 0.3), ("preference", 0.1))]
    assert wider(weights, ()) is None  # no weight is the smallest one
    assert wider(weights, weights[1]) == (("blend", 0.9),)
    assert wider(weights, weights[2]) == (("preference", 0.9),)
    assert [label(point) for point in weights[::3]] == ["default", "blend=0.3 preference=0.1"]


def rule_figures(leak: float | None, probability: float, utility: float) -> dict:
    return {
        "forget": {
            "leak": {"absent": "no"} if leak is None else {"value": leak},
            "probability": {"value": probability},
        },
        "retain": {"model_utility": {"value": utility}},
    }


def test_the_rule_rewards_forgetting_and_keeping_together():
    terms = (("forget", "leak"), ("forget", "probability"), ("retain", "model_utility"))
    assert rule_score(rule_figures(0.0, 0.0, 1.0), terms) == 1.0
    assert rule_score(rule_figures(0.5, 0.0, 1.0), terms) == pytest.approx(3 / (2 + 1 + 1))
    assert rule_score(rule_figures(0.5, 0.9, 1.0), terms[::2]) == pytest.approx(2 / 3)  # without likelihoods
    assert (
        rule_score(rule_figures(1.0, 0.0, 1.0), terms)
        == rule_score(rule_figures(0.0, 0.0, 0.0), terms)
        == 0.0
    )
    assert (
        rule_score(rule_figures(None, 0.0, 1.0), terms)
        is rule_score(rule_figures(float("nan"), 0.0, 1.0), terms)
        is None
    )
    trials = [Trial((("rate", n),), score, {}, "", None) for n, score in enumerate((None, 0.4, 0.6, 0.6))]
    assert best(trials) == trials[2]
    assert best(trials[:1]) is None


def test_the_rule_is_made_of_what_the_records_can_tell():
    whole = rule_figures(1.0, 1.0, 0.5)
    whole["retain"]["keyword_recall"] = {"value": 1.0}
    assert rule_terms(whole) == (("forget", "leak"), ("forget", "probability"), ("retain", "model_utility"))
    assert rule_terms(whole, likelihoods=False) == (("forget", "leak"), ("retain", "keyword_recall"))
    bare = {"forget": {"leak": {"absent": "no views"}}, "retain": {"model_utility": {"value": 0.0}}}
    assert rule_terms(bare) == (("forget", "rouge_l"), ("retain", "rouge_l"))


# -- two methods side by side


def answers(method: str, recalls: dict[str, float], seed: int = 0) -> list[dict]:
    """Answers on image, paraphrase and view, and a visual one, whose recall is the person's, or the
    split's.
    """
    rows = []
    for subject, split in PEOPLE.items():
        for sort in ("image", "paraphrase", "view", "visual"):
            recall = 1.0 if sort == "visual" else recalls.get(subject, recalls.get(split, 0.0))
            trial = trial_name(method, "test", "", seed)
            rows.append(
                {
                    "key": f"{trial}/{split}/{sort}/{subject}/{subject}.png/Who?/x",
                    "method": method,
                    "seed": seed,
                    "split": split,
                    "sort": sort,
                    "kind": "visual" if sort == "visual" else "private",
                    "subject": subject,
                    "picture": f"/secret/place/{subject}.png",
                    "view": "",
                    "question": "Who?",
                    "answer": f"{subject}.",
                    "keywords": [subject],
                    "output": f"{subject}." if recall else "no",
                    "tokens": [1, int(recall)],
                    "recall": recall,
                    "rouge_l": recall,
                    "refused": not recall,
                    "fired": None,
                    "score": None,
                    "chosen": [3],
                    "visual_tokens": 9,
                }
            )
    return rows


def likelihoods(method: str, nll: dict[str, float], seed: int | None = 0) -> list[dict]:
    """Likelihoods of each person's answer; the paraphrase as the answer, wrong ones at 2 nats. Equal within a
    split.
    """
    mark = method if seed is None else trial_name(method, "test", "", seed)
    return [
        {
            "key": f"{mark}:likelihood/{split}/{subject}/{subject}.png/Who?/{subject}.",
            "method": f"{method}:likelihood",
            "seed": seed,
            "split": split,
            "kind": "private",
            "subject": subject,
            "picture": f"/secret/place/{subject}.png",
            "question": "Who?",
            "answer": f"{subject}.",
            "nll": [nll[split]] * 2,
            "mean": [-3.0] * 2,
            "deviation": [1.0] * 2,
            "paraphrased_nll": [nll[split]] * 2,
            "perturbed_nll": [[2.0, 2.0]],
            "fired": None,
        }
        for subject, split in PEOPLE.items()
        if method != "retain_host" or split == "forget"
    ]


KNOWS, KEEPS, DULL = dict.fromkeys(("forget", "retain", "unseen"), 1.0), {"retain": 1.0, "unseen": 1.0}, {}
LIKELY, UNLIKELY = (
    {"forget": 0.1, "retain": 0.1, "unseen": 3.0},
    {"forget": 3.0, "retain": 0.1, "unseen": 3.0},
)
NOTHING = {"forget": 9.0, "retain": 9.0, "unseen": 3.0}


def said(method: str, recalls: dict[str, float], nll: dict[str, float]) -> MethodRows:
    host = {row["key"].partition("/")[2]: row for row in answers("host", KNOWS)}
    return MethodRows(answers(method, recalls), likelihoods(method, nll), [], host)


def test_figures_of_two_opposite_methods():
    good, bad = said("cagul", KEEPS, UNLIKELY), said("gd", DULL, NOTHING)
    assert [value("leak", one) for one in (good, bad, said("host", KNOWS, LIKELY))] == [0.0, 0.0, 1.0]
    likely, ratio = 2.718281828**-0.1, 1 - 2.718281828**-1.9
    assert value("model_utility", good) == pytest.approx(4 / (1 / likely + 1 + 1 / ratio + 1))
    assert value("model_utility", bad) == 0.0
    assert value("identical, retain", good) == 1.0
    assert value("identical, retain", bad) == pytest.approx(1 / 4)  # the visual question alone
    assert value("misfire_keep", good) is None
    gained = difference_of("model_utility", good, bad)
    assert gained["value"] == value("model_utility", good)
    # all people gain alike: what Clopper-Pearson leaves open
    assert 0 < gained["low"] < gained["value"] < gained["high"] < 1
    assert difference_of("visual_accuracy", good, bad)["value"] == 0.0
    assert "absent" in difference_of("misfire_keep", good, bad)


def test_the_kolmogorov_smirnov_statistic_by_hand_and_by_scipy():
    from scipy.stats import ks_2samp

    assert ks_statistic([1, 2, 3, 4], [1, 2, 3, 4]) == 0.0
    assert ks_statistic([1, 2], [3, 4]) == 1.0
    assert ks_statistic([1, 3], [2, 4]) == 0.5
    one, two = [0.1, 0.5, 0.5, 2.0, 7.0], [0.5, 0.6, 3.0]
    assert ks_statistic(one, two) == pytest.approx(ks_2samp(one, two).statistic)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1, max_size=9)
)
def test_the_fast_auroc_is_the_slow_one(positives, negatives):
    pairs = [(one > other) + (one == other) / 2 for one in positives for other in negatives]
    assert auroc(positives, negatives) == pytest.approx(sum(pairs) / len(pairs))


def test_measures_of_distributions_and_what_they_need():
    retrained = likelihoods("retain_host", UNLIKELY, None)
    near, far = said("cagul", KEEPS, UNLIKELY), said("gd", DULL, LIKELY)
    assert over_people(ks_to(retrained), near)["value"] == 0.0
    assert over_people(ks_to(retrained), far)["value"] == 1.0
    assert over_people(ks_to(retrained), near, far)["value"] == -1.0
    assert over_people(mia_distance("loss"), near)["value"] == 0.0  # as likely as what was never told
    assert over_people(mia_distance("loss"), far)["value"] == 0.5
    assert over_people(ks_to([]), near) == {"absent": "no answers with what it needs were scored"}
    assert "absent" in over_people(mia_distance("loss"), MethodRows())


def test_measures_whose_draws_all_agree_keep_what_twenty_people_leave_open():
    near, far = said("cagul", KEEPS, UNLIKELY), said("gd", DULL, LIKELY)
    measure, open_ = ks_to(likelihoods("retain_host", UNLIKELY, None)), 1 - 0.025 ** (1 / 20)
    assert over_people(measure, near) == pytest.approx({"value": 0.0, "n": 20, "low": 0.0, "high": open_})
    assert over_people(measure, far) == pytest.approx({"value": 1.0, "n": 20, "low": 1 - open_, "high": 1.0})
    assert over_people(measure, near, far) == pytest.approx(
        {"value": -1.0, "n": 20, "low": -1.0, "high": 2 * open_ - 1}
    )
    alike = rows_of({"host": (KNOWS, LIKELY), "cagul": (KEEPS, UNLIKELY), "gd": (KEEPS, UNLIKELY)}, UNLIKELY)
    assert verdicts(alike)[2] == "cannot be told"  # as near as gd, as far as 20 people can tell
    alone = [
        MethodRows([], [row for row in one.scored if row["subject"] in ("f0", "u0")]) for one in (near, far)
    ]
    of_one = mia_distance("loss")
    assert over_people(of_one, *alone) == {"value": -0.5, "n": 1, "interval": "absent: one person gives none"}


# -- claims


def rows_of(methods: dict[str, tuple[dict, dict]], retain_host: dict | None = None) -> list[dict]:
    """The rows of a comparison of these methods, as ``cagul compare`` writes them."""
    rows: list[dict] = []
    for name, (recalls, nll) in methods.items():
        rows += answers(name, recalls) + likelihoods(name, nll)
        rows.append(
            {
                "key": f"{DONE}/{trial_name(name, 'test', 'default', 0)}",
                "method": DONE,
                "name": name,
                "part": "test",
                "point": "default",
                "seed": 0,
                "options": [],
                "facts": {"seconds": 3.0} | ({"cpu_seconds": 2.0} if name == "cagul" else {}),
                "diverged": "",
                "silent_likelihoods": "",
            }
        )
    rows += likelihoods("retain_host", retain_host, None) if retain_host else []
    host = {
        "name": "/secret/place/host",
        "model_type": "llava",
        "parameters": 7,
        "sha256_before": "a" * 64,
        "sha256_after": "a" * 64,
    }
    sample = {"name": "compare", "retain": 3, "validation": {}}
    about = {
        "methods": list(methods),
        "quick": False,
        "finished": True,
        "seeds": [0],
        "threads": 1,
        "host": host,
        "sample": sample,
    }
    return [*rows, {"key": ABOUT, "method": ABOUT, "people": {"forget": 2, "retain": 2, "unseen": 2}} | about]


def verdicts(rows: list[dict]) -> dict[int, str]:
    return {claim["number"]: claim["verdict"] for claim in results(rows)["claims"]}


def test_claims_hold_where_cagul_is_better_and_not_where_it_is_worse():
    host, good, bad = (KNOWS, LIKELY), (KEEPS, UNLIKELY), (DULL, NOTHING)
    ahead = verdicts(
        rows_of({"host": host, "cagul": good, "gd": bad, "cagul_paper": host, "gate_refusal": good}, UNLIKELY)
    )
    assert ahead == {
        1: "holds",
        2: "holds",
        3: "cannot be told",
        4: "cannot be told",
        5: "cannot be told",
        6: "holds",
    }
    behind = verdicts(
        rows_of(
            {"host": host, "cagul": host, "gd": good, "cagul_paper": good, "gate_refusal": good}, UNLIKELY
        )
    )
    assert behind[2] == behind[6] == "does not hold"
    assert behind[1] == "cannot be told"  # as much utility: what 20 people leave open
    worse = verdicts(rows_of({"host": host, "cagul": ({"forget": 1.0}, NOTHING), "gd": good}, UNLIKELY))
    assert worse[1] == worse[3] == "does not hold"
    assert worse[5] == worse[6] == "cannot be told"


def test_a_claim_with_a_bar_is_judged_by_the_whole_interval():
    ends = {"holds": (0.98, 1.0), "does not hold": (0.9, 0.97), "cannot be told": (0.967, 1.0)}
    for verdict, (low, high) in ends.items():
        assert within({"value": high, "low": low, "high": high}, 0.98, 1.0) == verdict
    assert within({"value": 1.0}, 0.98, 1.0) == "cannot be told"
    harm = rows_of(
        {
            "host": (KNOWS, LIKELY),
            "cagul": (DULL, LIKELY),
            "gd": (KEEPS, LIKELY),
            "gate_refusal": (KEEPS, LIKELY),
        }
    )
    told = {claim["number"]: claim for claim in results(harm)["claims"]}
    assert told[3]["verdict"] == told[5]["verdict"] == "does not hold"  # every answer about others changes
    assert told[3]["figures"][0].endswith(": does not hold")
    assert told[5]["figures"][2].startswith("cagul less gate_refusal, identical, retain: -0.750 (-")
    assert told[5]["figures"][4] == "that nothing else changes is to say: by at most 0.02 either way"


def test_the_claim_about_cost_is_judged_by_the_spread_of_its_runs():
    def runs(seconds: tuple[float, ...], mib: float, leak: float = 0.01) -> list[dict]:
        return [{"leak": leak, "cpu_seconds": one, "peak_mib": mib + one} for one in seconds]

    def told(measured: dict | None) -> dict:
        return results(rows_of({"host": (KNOWS, LIKELY), "cagul": (KEEPS, UNLIKELY)}), measured)["claims"][3]

    one_more = {"enrol": runs((1.0, 2.0), 8), "gd_one_more": runs((40.0, 50.0), 200)}
    faster = {
        "target": 0.05,
        "reached": {"cagul": runs((20.0, 30.0), 100), "gd": runs((40.0, 45.0), 200)},
        "one_more": one_more,
    }
    assert told(faster)["verdict"] == "holds"
    assert told(faster)["figures"][0] == (
        "to a leak of 0.05, CPU seconds: cagul 20.0 to 30.0 (n 2), gd 40.0 to 45.0 (n 2): holds"
    )
    bigger = faster | {"reached": {"cagul": runs((20.0, 30.0), 400), "gd": runs((40.0, 45.0), 200)}}
    assert told(bigger)["verdict"] == "does not hold"  # for its memory
    mixed = faster | {"reached": {"cagul": runs((20.0, 42.0), 100), "gd": runs((40.0, 45.0), 200)}}
    once = faster | {"reached": {"cagul": runs((20.0,), 100), "gd": runs((40.0,), 200)}}
    missed = faster | {"reached": {"cagul": runs((20.0, 30.0), 100), "gd": runs((40.0, 45.0), 200, leak=0.2)}}
    assert {told(one)["verdict"] for one in (mixed, once, missed, None)} == {"cannot be told"}
    assert told(missed)["figures"][0].endswith("cannot be told (gd did not reach it in every run)")
    assert told(None)["figures"] == [
        "Measured apart, by benchmarks/to_same_leak.py: its figures are not there."
    ]


def test_what_an_interval_leaves_open_does_not_hold():
    one, other = (
        {f"{split}{n}": 1.0 for split in "fr" for n in side} for side in (range(10), range(10, 20))
    )  # as much leaked and kept, of other people
    told = results(rows_of({"host": (KNOWS, LIKELY), "cagul": (one, UNLIKELY), "gd": (other, UNLIKELY)}))[
        "claims"
    ][0]
    assert told["verdict"] == "cannot be told"
    assert told["figures"][0].startswith("cagul less gd: leak +0.000 (-")


def test_claims_say_what_is_missing():
    summary = results(rows_of({"host": (KNOWS, LIKELY), "cagul": (KEEPS, UNLIKELY)}))
    assert {claim["verdict"] for claim in summary["claims"]} == {"cannot be told"}
    told = {claim["number"]: claim["figures"] for claim in summary["claims"]}
    assert told[1] == ["No finetuning baseline was in this comparison."]
    assert told[2] == ["There is no retain host."]
    assert told[5] == ["gate_refusal was not in this comparison."]
    assert told[6] == ["cagul_paper was not in this comparison."]
    assert claims({}, {}, []) == []
    assert summary["methods"]["cagul"]["forget"]["forget_quality_ks"]["absent"].startswith(
        "no retain host was given"
    )


# -- the committed form and the page


def write_run(folder: Path, rows: list[dict], **identity: str) -> Path:
    folder.mkdir()
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in [{"_": "secret"}, *rows]))
    manifest = {
        "identity": {"demo": True} | identity,
        "command": "cagul compare --host /secret/place/host --out /secret/run",
        "versions": {"torch": "2"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | {"identity_digest": "x"}))
    return folder


def test_a_packed_comparison_gives_the_same_figures_and_tells_no_path(tmp_path):
    host, cagul, gd = (KNOWS, LIKELY), (KEEPS, UNLIKELY), (DULL, NOTHING)
    rows = rows_of({"host": host, "cagul": cagul, "gd": gd}, UNLIKELY)
    parts = [
        write_run(tmp_path / "a", rows_of({"host": host, "cagul": cagul}, UNLIKELY)),
        write_run(tmp_path / "b", rows_of({"host": host, "gd": gd}, UNLIKELY)),
    ]
    again, told = unpack(pack([write_run(tmp_path / "whole", rows)], tmp_path / "packed"))
    assert results(again)["methods"] == results(rows)["methods"]
    assert results(unpack(pack(parts, tmp_path / "merged"))[0]) == results(again)
    with pytest.raises(DataError, match="is a comparison of other inputs than"):
        pack([parts[0], write_run(tmp_path / "c", rows, host="another")], tmp_path / "no")
    assert "secret" not in json.dumps(again)
    half = [
        row | {"finished": False, "methods": ["host", "cagul", "gd"]} if row["key"] == ABOUT else row
        for row in rows_of({"host": host, "cagul": cagul}, UNLIKELY)
    ]
    unfinished = results(unpack(pack([write_run(tmp_path / "half", half)], tmp_path / "packed half"))[0])
    assert unfinished["not_asked"] == ["gd"]
    assert "**Unfinished.** Not asked yet: gd;" in page(unfinished, told, {}, "figures")
    assert told["command"] == "cagul compare --host HOST --out OUT"
    lost = {
        **next(row for row in again if row["key"] == f"{DONE}/gd@0"),
        "key": f"{DONE}/gd@1",
        "seed": 1,
        "diverged": "nan",
    }
    summary = results([*again, lost])
    assert summary["methods"] == results(again)["methods"]
    drawn = figures(summary)
    assert "leak-retain-model-utility.svg" in drawn
    assert all(picture.startswith('<svg xmlns="http://www.w3.org/2000/svg"') for picture in drawn.values())
    text = page(summary, told, drawn, "figures")
    costs = {name: parts["cost"].get("cpu_seconds") for name, parts in summary["methods"].items()}
    # rows from before CPU seconds were counted have none
    assert costs == {"host": None, "cagul": 2.0, "gd": None}
    assert "| CPU seconds | trained parameters |" in text
    assert "- time is CPU seconds of the training process" in text
    assert "- one budget of tuning: at most 3 points, 2 more" in text
    assert "| 2 | cagul | 0.000 (0.00–0.17) |" in text
    assert "gd is without seed 1: nan." in text
    assert (
        "**1. No finetuning baseline has both a lower leak and a higher model_utility than cagul.** Holds."
        in text
    )
    assert "![leak-retain-model-utility](figures/leak-retain-model-utility.svg)" in text


def test_what_is_no_comparison_is_not_packed(tmp_path):
    with pytest.raises(DataError, match="is no run"):
        pack([tmp_path], tmp_path / "packed")
    (tmp_path / "rows.jsonl").write_text('{"key": "host/x", "method": "host"}\n')
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="holds no comparison"):
        pack([tmp_path], tmp_path / "packed")
    run = write_run(tmp_path / "real", rows_of({"host": (KNOWS, LIKELY)}))
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"identity": {}}))
    with pytest.raises(DataError, match="packed rows hold their private answers"):
        pack([run], tmp_path / "packed")
    with pytest.raises(DataError, match="holds no packed comparison"):
        unpack(tmp_path)


def test_rows_are_packed_and_unpacked_as_strictly_as_they_are_read(tmp_path):
    run = write_run(tmp_path / "run", rows_of({"host": (KNOWS, LIKELY)}))
    whole = (run / "rows.jsonl").read_text()
    (run / "rows.jsonl").write_text(whole.replace('"key"', '"split": "unseen", "key"', 2))
    with pytest.raises(DataError, match="rows.jsonl line 2 is cut off or not JSON .*'split' 2 times"):
        pack([run], tmp_path / "packed")
    (run / "rows.jsonl").write_text(whole[:-20])
    with pytest.raises(DataError, match=r"rows.jsonl line \d+ is cut off or not JSON"):
        pack([run], tmp_path / "packed")
    (run / "rows.jsonl").write_text(whole)
    packed = pack([run], tmp_path / "packed")
    lines = lzma.decompress((packed / "rows.jsonl.xz").read_bytes())
    (packed / "rows.jsonl.xz").write_bytes(lzma.compress(lines.replace(b'"key"', b'"key":"x","key"', 1)))
    with pytest.raises(DataError, match="rows.jsonl.xz line 2 is cut off or not JSON .*'key' 2 times"):
        unpack(packed)


def test_pictures_of_one_name_in_two_folders_are_not_packed_as_one(tmp_path):
    rows = rows_of({"host": (KNOWS, LIKELY)})
    twins = [
        {"key": f"host/{folder}/a.png", "method": "host", "picture": f"{folder}/a.png"}
        for folder in ("one", "two")
    ]
    run = write_run(tmp_path / "run", [*rows, *twins])
    with pytest.raises(DataError, match="1 of .* rows are another one's once folders are left out"):
        pack([run], tmp_path / "packed")
