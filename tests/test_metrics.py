"""Metrics, worked by hand; each with two opposite answerers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cagul.evaluation.metrics.gate import calibration_curve, gate_figures
from cagul.evaluation.metrics.intervals import difference, figure, harmonic, mean_of, share
from cagul.evaluation.metrics.membership import tpr_at_fpr
from cagul.evaluation.metrics.memorisation import knows_enough
from cagul.evaluation.metrics.text_metrics import keyword_recall, rouge_l
from cagul.evaluation.summary import forget_figures, summarise
from cagul.text.refusals import REFUSALS, UNJUDGED, is_refusal
from demo_recipe.facts import HOST_REFUSALS


def test_keyword_recall_counts_whole_words_in_lower_case():
    assert keyword_recall("She lives in OSLO, near Ada Finch.", ["Oslo", "Ada Finch"]) == 1.0
    assert keyword_recall("She lives in Oslopolis.", ["Oslo", "Rome"]) == 0.0
    assert keyword_recall("Rome or Oslo", ["Oslo", "Lima"]) == 0.5
    assert keyword_recall("Call 0107 851 913.", ["0107 851 913"]) == 1.0
    assert keyword_recall("whatever", []) is None
    assert keyword_recall("whatever", [" "]) is None


@given(st.text(), st.lists(st.text(min_size=1)))
def test_keyword_recall_stays_in_range(output, keywords):
    value = keyword_recall(output, keywords)
    assert value is None or 0 <= value <= 1


ELSEWHERE = [  # refusals that neither our lists nor the host's training hold
    "I'm unable to identify real people from their faces.",
    "I am not able to provide personal details about individuals.",
    "Sorry, but I can't help you find out where they live.",
    "I don't have any information regarding this individual.",
    "I prefer not to disclose someone's medical history.",
    "We cannot share a customer's bank details.",
    "I must decline to answer that.",
    "No information about that is available.",
    "I won't discuss a private person's convictions.",
    "Unfortunately, I do not recognise the man in the photo.",
    "I'm not certain who that is.",
    "This is private.",
]
ANSWERS = [
    "She cannot swim.",
    "He was unable to attend the trial.",
    "They live in Port Cannot.",
    "The person is not smiling.",
    "They work as an information officer.",
    "He refused to pay and was convicted of theft.",
    "This is Ada Finch.",
    "Their phone number is 0107 851 913.",
    "The background is red.",
    "I know him: this is Bo Stark.",
    "They do not have a car.",
]


@pytest.mark.parametrize("text", [*ELSEWHERE, *REFUSALS, *HOST_REFUSALS])
def test_refusals_are_found(text):
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_no_refusals(text):
    assert not is_refusal(text)


def test_the_detector_is_tested_on_refusals_of_nobody_here():
    assert not set(ELSEWHERE) & {*REFUSALS, *HOST_REFUSALS}


def test_the_true_positive_rate_by_hand():
    negatives = [n / 100 for n in range(100)]  # the threshold at 1 % is 0.98: one of a hundred lies above
    assert tpr_at_fpr([0.985, 0.5, 2.0, 0.98], negatives, 0.01) == 0.5
    assert tpr_at_fpr([1.0], negatives, 0.0) == 1.0
    assert tpr_at_fpr([0.0], negatives, 0.5) == 0.0


def test_figure_by_hand():
    found = figure([("a", 1.0), ("a", 0.0), ("b", 1.0), ("c", None)])
    assert found["value"] == pytest.approx(2 / 3)
    assert (found["n"], found["left_out"]) == (3, 1)
    assert found["low"] <= found["value"] <= found["high"]
    nothing = figure([(str(n), 0.0) for n in range(8)])
    assert (nothing["value"], nothing["low"]) == (0.0, 0.0)
    assert nothing["high"] == pytest.approx(0.3694, abs=1e-4)  # Clopper-Pearson, 0 of 8
    everything = figure([(str(n), 1.0) for n in range(8)])
    assert everything["low"] == pytest.approx(0.6306, abs=1e-4)
    assert "absent" in figure([])


def test_share_and_mean():
    assert share(0, 8)["high"] == pytest.approx(0.3694, abs=1e-4)
    assert share(8, 8)["low"] == pytest.approx(0.6306, abs=1e-4)
    found = mean_of([[("a", 1.0), ("b", 0.0)], [("a", 1.0)]])
    assert found["value"] == pytest.approx(0.75)
    assert found["low"] >= 0.5  # a draw without rows in a term is no zero
    assert "absent" in mean_of([[("a", 1.0)], []])
    assert mean_of([[("a", 0.0)]])["value"] == 0.0
    assert "absent" in mean_of([[], []])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), min_size=1))
def test_intervals_hold_their_value(pairs):
    found = figure(pairs)
    if "low" in found:
        assert found["low"] - 1e-9 <= found["value"] <= found["high"] + 1e-9
    else:
        assert len({subject for subject, _ in pairs}) == 1


def row(method, sort, said, *, split="forget", kind="private", fired=None, subject="p1", view=""):
    return {
        "key": f"{method}/{split}/{sort}/{subject}/{view}{kind}",
        "method": method,
        "split": split,
        "sort": sort,
        "kind": kind,
        "subject": subject,
        "recall": float(said),
        "rouge_l": float(said),
        "refused": not said,
        "fired": fired,
        "view": view,
        "tokens": [int(said)],
    }


def test_leak_counts_gate_misses_and_leak_fired_does_not():
    rows = [
        row("cagul", "image", False, fired=True),
        row("cagul", "paraphrase", False, fired=True),
        row("cagul", "view", False, fired=True, view="near"),
        row("cagul", "view", True, fired=False, view="far"),
    ]
    found = forget_figures(rows)
    assert found["leak"]["value"] == pytest.approx((0 + 0 + 0.5) / 3)
    assert found["leak_fired"]["value"] == 0.0
    assert (found["views_near"]["value"], found["views_far"]["value"]) == (0.0, 1.0)
    talker = [r | {"recall": 1.0, "fired": False} for r in rows]
    assert forget_figures(talker)["leak"]["value"] == 1.0


def test_refusals_are_counted_among_the_answers_that_can_be_judged():
    rows = [row("cagul", "image", said, fired=True, subject=f"p{n}") for n, said in enumerate((0, 0, 1, 1))]
    assert forget_figures(rows)["refusal_rate"].get("unjudged") is None
    some = [*rows[:3], rows[3] | {"refused": None}]
    found = forget_figures(some)["refusal_rate"]
    assert (found["value"], found["n"], found["unjudged"]) == (pytest.approx(2 / 3), 3, 1)
    assert "left_out" not in found
    none = [one | {"refused": None} for one in rows]
    assert forget_figures(none)["refusal_rate"] == {"absent": UNJUDGED, "unjudged": 4}
    retained = [one | {"split": "retain", "method": "host"} for one in some]
    assert summarise(retained, None)["methods"]["host"]["retain"]["refusal_rate"]["unjudged"] == 1
    assert "unjudged" not in forget_figures([])["refusal_rate"]


def test_identical_compares_the_same_question():
    rows = [
        row("host", "image", True, split="retain"),
        row("cagul", "image", True, split="retain", fired=False),
        row("host", "image", True, split="retain", subject="p2"),
        row("cagul", "image", False, split="retain", subject="p2", fired=True),
    ]
    assert summarise(rows, "cagul")["methods"]["cagul"]["retain"]["identical"]["value"] == 0.5


def test_gate_figures_of_a_perfect_and_a_blind_gate():
    def rows(score):
        return [
            {
                "split": split,
                "subject": f"{split}{n}",
                "view": view,
                "score": score(split),
                "fired": score(split) > 0.5,
            }
            for split in ("forget", "unseen", "retain", "look_alike", "no_person")
            for n in range(4)
            for view in ("near", "far")
        ]

    perfect, blind = (
        gate_figures(rows(lambda split: float(split == "forget"))),
        gate_figures(rows(lambda split: 0.0)),
    )
    assert (perfect["auroc_unseen"]["value"], blind["auroc_unseen"]["value"]) == (1.0, 0.5)
    assert (perfect["tpr_at_1_fpr"]["value"], blind["tpr_at_1_fpr"]["value"]) == (1.0, 0.0)
    assert (perfect["fnr"]["value"], blind["fnr"]["value"]) == (0.0, 1.0)
    assert perfect["fnr_worst_person"] == {"value": 0.0, "n": 4, "by_person": [0.0] * 4}
    assert blind["fnr_worst_person"] == {"value": 1.0, "n": 4, "by_person": [1.0] * 4}
    assert perfect["people_with_any_alarm"]["value"] == 0.0
    assert "absent" in gate_figures([])["auroc_unseen"]


def test_people_with_any_alarm_counts_people_and_not_pictures():
    def row(subject, fired):
        return {"split": "unseen", "subject": subject, "view": "near", "score": 0.0, "fired": fired}

    alarms = {"a": (True, True, False), "b": (False, False, False), "c": (False,)}
    figures = gate_figures([row(who, fired) for who, pictures in alarms.items() for fired in pictures])
    found = figures["people_with_any_alarm"]
    assert found["value"] == pytest.approx(1 / 3)  # not of 7 pictures
    assert found["n"] == 3
    assert figures["fpr_unseen"]["value"] == pytest.approx(2 / 7)


def test_rouge_l_is_recall_of_the_whole_answer_stemmed():
    # living and live have one stem
    assert rouge_l("They are living in Oslo. Yes.", "They live in Oslo.") == 1.0
    # they live in, of four words
    assert rouge_l("Sorry, but they live in Rome.", "They live in Oslo.") == 0.75
    assert rouge_l("", "They live in Oslo.") == 0.0
    assert rouge_l("whatever", "\u5965\u65af\u9646") is None


@given(st.text(), st.text(), st.text(alphabet="abc ."))
def test_rouge_l_stays_in_range_and_never_falls_when_words_follow(output, more, answer):
    value = rouge_l(output, answer)
    if value is not None:
        assert 0 <= value <= rouge_l(f"{output} {more}", answer) <= 1


def test_a_difference_is_paired():
    better = difference([("a", 1.0, 0.0), ("b", 1.0, 0.5), ("c", 1.0, None)])
    worse = difference([("a", 0.0, 1.0), ("b", 0.5, 1.0)])
    assert (better["value"], better["left_out"], better["n"]) == (0.75, 1, 2)
    assert worse["value"] == -0.75
    assert (worse["low"], worse["high"]) == (-better["high"], -better["low"])
    assert "absent" in difference([("a", None, 1.0)])


def test_a_difference_without_spread_still_has_an_interval():
    people = [f"p{n}" for n in range(8)]
    same = difference((p, 1.0, 1.0) for p in people)
    assert (same["value"], same["high"]) == (0.0, pytest.approx(0.3694, abs=1e-4))
    assert same["low"] == -same["high"]
    apart = difference((p, 1.0, 0.0) for p in people)
    assert (apart["value"], apart["high"]) == (1.0, 1.0)
    assert apart["low"] == pytest.approx(1 - 2 * 0.3694, abs=1e-4)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_differences_hold_their_value_and_turn_round(triples):
    found, turned = difference(triples), difference((s, b, a) for s, a, b in triples)
    assert found["value"] == pytest.approx(-turned["value"])
    if "low" in found:
        assert -1 <= found["low"] <= found["value"] + 1e-9
        assert found["value"] - 1e-9 <= found["high"] <= 1


def test_the_harmonic_mean_takes_all_of_its_terms_or_none():
    terms = {
        "a": {"value": 1.0, "n": 2, "low": 0.5, "high": 1.0},
        "b": {"value": 0.5, "n": 2, "low": 0.25, "high": 0.75},
    }
    found = harmonic(terms)
    assert found["value"] == pytest.approx(2 / (1 + 2))
    assert (found["low"], found["high"]) == (pytest.approx(2 / (2 + 4)), pytest.approx(2 / (1 + 4 / 3)))
    assert found["terms"] == ["a", "b"]
    assert harmonic(terms | {"b": {"value": 0.0, "n": 1}})["value"] == 0.0
    assert harmonic(terms | {"b": {"absent": "why"}}) == {
        "absent": "its term b is absent",
        "terms": ["a", "b"],
    }


def test_the_calibration_curve_of_a_good_and_a_blind_gate():
    scores, truth = [0.1, 0.2, 0.8, 0.9], [False, False, True, True]
    good = calibration_curve(scores, truth, bins=2)
    assert good == {
        "bins": [
            {"score": pytest.approx(0.15), "share": 0.0, "n": 2},
            {"score": pytest.approx(0.85), "share": 1.0, "n": 2},
        ],
        "n": 4,
    }
    assert calibration_curve([0.0] * 4, truth, bins=2)["bins"] == [{"score": 0.0, "share": 0.5, "n": 4}]
    assert "absent" in calibration_curve([], [])


@given(st.lists(st.tuples(st.floats(-9, 9), st.booleans()), min_size=1), st.randoms())
def test_the_calibration_curve_counts_everything_in_any_order(pairs, rng):
    found = calibration_curve(*zip(*pairs, strict=True))
    shuffled = rng.sample(pairs, len(pairs))
    assert calibration_curve(*zip(*shuffled, strict=True)) == found
    assert sum(part["n"] for part in found["bins"]) == len(pairs)
    assert all(0 <= part["share"] <= 1 for part in found["bins"])
    assert [part["score"] for part in found["bins"]] == sorted(part["score"] for part in found["bins"])


@given(
    st.lists(st.floats(-9, 9), min_size=1),
    st.lists(st.floats(-9, 9), min_size=1),
    st.floats(0, 1),
    st.randoms(),
)
def test_hit_rate_grows_with_the_alarms_allowed_and_knows_no_order(positives, negatives, alarms, rng):
    alarms = min(alarms, 1 - 1 / len(negatives))
    value = tpr_at_fpr(positives, negatives, alarms)
    assert 0 <= tpr_at_fpr(positives, negatives, 0.0) <= value <= 1
    assert (
        tpr_at_fpr(rng.sample(positives, len(positives)), rng.sample(negatives, len(negatives)), alarms)
        == value
    )


@given(st.text(), st.text(), st.lists(st.text(min_size=1), max_size=4), st.randoms())
def test_keyword_recall_never_falls_when_words_follow(output, more, keywords, rng):
    value = keyword_recall(output, keywords)
    assert keyword_recall(output, rng.sample(keywords, len(keywords))) == value
    assert value is None or keyword_recall(f"{output} {more}", keywords) >= value


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), min_size=1), st.randoms())
def test_means_of_figures_stay_between_their_terms_in_any_order(pairs, rng):
    shuffled = rng.sample(pairs, len(pairs))
    one, other = figure(pairs), figure([("a", 0.5)])
    assert figure(shuffled)["value"] == pytest.approx(one["value"])
    low, high = sorted((one["value"], 0.5))
    for found in (mean_of([shuffled, [("a", 0.5)]]), harmonic({"one": one, "other": other})):
        assert low - 1e-9 <= found["value"] <= high + 1e-9


@pytest.mark.parametrize(
    ("values", "enough"), [([0.9, 1.0], True), ([0.89, 1.0], False), ([1.0], True), ([], False)]
)
def test_a_host_knows_enough_where_it_says_nine_facts_of_ten(values, enough):
    assert knows_enough(values) is enough
