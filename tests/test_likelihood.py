"""Figures of likelihoods, worked by hand; each with two opposite answerers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cagul.evaluation.metrics import fiubench, registry
from cagul.evaluation.metrics.likelihood import (
    forget_quality,
    forget_truth_ratio,
    log_truth_ratio,
    probability,
    probability_normalised,
    retain_truth_ratio,
)
from cagul.evaluation.metrics.membership import SCORES, auroc, distance, lowest, mia, min_k_plus_plus
from cagul.evaluation.result_rows import LIKELIHOOD, RETAIN_HOST
from cagul.evaluation.summary import summarise

LOG2 = math.log(2)
nlls = st.lists(st.floats(0, 60), min_size=1, max_size=8)


def test_probability_is_the_geometric_mean_over_all_tokens():
    assert probability([LOG2, 3 * LOG2]) == pytest.approx(0.25)
    assert probability([0.0, 0.0]) == 1.0
    assert probability([50 * LOG2] * 2) == pytest.approx(2**-50)


def test_normalised_probability_of_one_who_knows_and_one_who_does_not():
    assert probability_normalised([LOG2], [[2 * LOG2], [2 * LOG2]]) == pytest.approx(
        0.5 / (0.5 + 0.25 + 0.25)
    )
    assert probability_normalised([2 * LOG2], [[LOG2]]) == pytest.approx(0.25 / 0.75)
    assert probability_normalised([2000.0], [[2000.0]]) == 0.5
    assert probability_normalised([1.0], []) is None


def test_truth_ratio_by_both_means():
    paraphrased, perturbed = [LOG2], [[2 * LOG2], [4 * LOG2]]  # P 1/2 against 1/4 and 1/16
    assert math.exp(log_truth_ratio(paraphrased, perturbed)) == pytest.approx((1 / 8) / (1 / 2))
    assert math.exp(log_truth_ratio(paraphrased, perturbed, "arithmetic")) == pytest.approx(
        (5 / 32) / (1 / 2)
    )
    assert log_truth_ratio([], perturbed) is None
    assert log_truth_ratio(paraphrased, []) is None


def test_truth_ratios_of_one_who_knows_and_one_who_does_not():
    knows, ignorant = math.log(0.25), 0.0
    assert (forget_truth_ratio(knows), forget_truth_ratio(ignorant)) == (pytest.approx(0.25), 1.0)
    assert forget_truth_ratio(-knows) == pytest.approx(0.25)  # surer of the wrong answers betrays as much
    assert (retain_truth_ratio(knows), retain_truth_ratio(ignorant)) == (pytest.approx(0.75), 0.0)
    assert retain_truth_ratio(5.0) == 0.0
    assert (forget_truth_ratio(None), retain_truth_ratio(None)) == (None, None)


@given(nlls, st.lists(nlls, max_size=4), st.randoms(), st.sampled_from(["geometric", "arithmetic"]))
def test_likelihood_figures_stay_in_range_and_know_no_order(right, wrong, rng, mean):
    shuffled = rng.sample(wrong, len(wrong))
    assert 0 <= probability(right) <= 1
    assert probability(rng.sample(right, len(right))) == probability(right)
    normalised, log_r = probability_normalised(right, wrong), log_truth_ratio(right, wrong, mean)
    assert (normalised is None) == (log_r is None) == (not wrong)
    if wrong:
        assert 0 <= normalised <= 1
        assert normalised == pytest.approx(probability_normalised(right, shuffled))
        assert log_r == pytest.approx(log_truth_ratio(right, shuffled, mean))
        assert 0 <= forget_truth_ratio(log_r) <= 1
        assert 0 <= retain_truth_ratio(log_r) <= 1
        assert log_truth_ratio([value + 1 for value in right], wrong, mean) > log_r
        assert (
            log_truth_ratio(right, wrong, "arithmetic") >= log_truth_ratio(right, wrong, "geometric") - 1e-9
        )


def test_forget_quality_of_equal_and_of_disjoint_ratios():
    retain = {f"fact {n}": n / 10 for n in range(10)}
    equal, apart = (
        forget_quality(retain, retain),
        forget_quality({k: v - 5 for k, v in retain.items()}, retain),
    )
    assert (equal["forget_quality_p"]["value"], equal["forget_quality_ks"]["value"]) == (1.0, 0.0)
    assert apart["forget_quality_ks"]["value"] == 1.0
    # both orders of ten below ten
    assert apart["forget_quality_p"]["value"] == pytest.approx(2 / math.comb(20, 10))
    assert apart["forget_quality_ks"]["n"] == 10
    assert "paraphrased answer" in forget_quality({}, {})["forget_quality_p"]["absent"]
    with pytest.raises(ValueError, match="R of 1 facts against R of 2: 3 are of one side alone"):
        forget_quality({"a": 1.0}, {"b": 1.0, "c": 2.0})


@pytest.mark.filterwarnings("ignore:ks_2samp")  # scipy falls back to the asymptotic p-value, and says so
@given(st.dictionaries(st.text(), st.floats(-9, 9), min_size=1), st.randoms())
def test_forget_quality_stays_in_range_and_knows_ranks_alone(found, rng):
    other = {key: rng.uniform(-9, 9) for key in found}
    one = forget_quality(found, other)
    again = forget_quality(dict(reversed(found.items())), other)
    assert all(0 <= figure["value"] <= 1 for figure in one.values())
    assert one == again == forget_quality(other, found)
    assert one == forget_quality({k: 4 * v for k, v in found.items()}, {k: 4 * v for k, v in other.items()})


def scored(
    subject, nll, *, split="forget", method="cagul", paraphrased=(), perturbed=(), answer="They live in Oslo."
):
    return {
        "key": f"{method}{LIKELIHOOD}/{split}/{subject}",
        "method": method + LIKELIHOOD,
        "split": split,
        "kind": "private",
        "subject": subject,
        "answer": answer,
        "nll": nll,
        "mean": [-2.0] * len(nll),
        "deviation": [1.0] * len(nll),
        "paraphrased_nll": paraphrased,
        "perturbed_nll": perturbed,
    }


def test_membership_scores_by_hand():
    row = scored("a", [1.0, 2.0, 3.0, 4.0, 5.0], answer="x" * 30)
    assert SCORES["loss"](row) == -3.0
    assert SCORES["min_k"](row) == -5.0  # the least likely fifth: one token
    assert SCORES["min_k_plus_plus"](row) == -3.0  # (-5 - -2) / 1
    assert min_k_plus_plus(row | {"deviation": [0.0] * 5}) == 0.0
    assert SCORES["zlib"](row) == pytest.approx(-3.0 / 11)  # thirty equal letters compress to eleven bytes
    assert lowest([4.0, 1.0, 3.0, 2.0], 0.5) == 1.5


def test_membership_of_one_who_remembers_and_one_who_does_not():
    members = [scored(f"f{n}", [0.1 * n, 0.2]) for n in range(4)]
    others = [scored(f"u{n}", [3.0 + n, 4.0], split="unseen") for n in range(4)]
    remembers, does_not = (
        mia(members, others),
        mia(members, [r | {"subject": f"u {r['subject']}"} for r in members]),
    )
    for name in SCORES:
        assert (remembers[f"mia_{name}"]["value"], does_not[f"mia_{name}"]["value"]) == (1.0, 0.5)
        assert (remembers[f"mia_{name}_distance"]["value"], does_not[f"mia_{name}_distance"]["value"]) == (
            0.5,
            0.0,
        )
        # over-forgetting betrays just as well
        assert mia(others, members)[f"mia_{name}_distance"]["value"] == 0.5
        assert "never-seen people" in mia(members, [])[f"mia_{name}"]["absent"]
        assert "forget set" in mia([], others)[f"mia_{name}_distance"]["absent"]
    assert distance({"value": 0.3, "n": 2, "low": 0.2, "high": 0.6}) == {
        "value": pytest.approx(0.2),
        "n": 2,
        "low": 0.0,
        "high": pytest.approx(0.3),
    }
    assert distance({"value": 0.2, "n": 2, "low": 0.1, "high": 0.4})["low"] == pytest.approx(0.1)


@given(st.lists(st.floats(-9, 9), min_size=1), st.lists(st.floats(-9, 9), min_size=1), st.randoms())
def test_auroc_turns_round_and_knows_no_order(positives, negatives, rng):
    value = auroc(positives, negatives)
    assert 0 <= value <= 1
    assert auroc(negatives, positives) == pytest.approx(1 - value)
    assert auroc(rng.sample(positives, len(positives)), negatives) == pytest.approx(value)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=8), st.randoms())
def test_membership_scores_know_no_order_and_fall_with_the_loss(nll, rng):
    for name, score in SCORES.items():
        value = score(scored("a", nll))
        assert score(scored("a", rng.sample(nll, len(nll)))) == pytest.approx(value), name
        assert score(scored("a", [value + 1 for value in nll])) < value, name


def answered(method, split, subject, recall, sort="image", output="They live in Oslo."):
    return {
        "key": f"{method}/{split}/{sort}/{subject}",
        "method": method,
        "split": split,
        "sort": sort,
        "kind": "private",
        "subject": subject,
        "recall": recall,
        "rouge_l": recall,
        "refused": False,
        "fired": None,
        "view": "",
        "tokens": [1],
        "output": output,
        "answer": "They live in Oslo.",
        "keywords": ["Oslo"],
    }


def rows_of(method, recall, loss):
    """Two facts of forget and of retain, one unseen, each answered with ``recall`` and scored with
    ``loss``.
    """
    told = {"method": method, "paraphrased": [loss], "perturbed": [[2.0], [2.0]]}
    return [
        *(
            answered(method, split, s, recall, sort)
            for split in ("forget", "retain")
            for s in "ab"
            for sort in ("image", "paraphrase")
        ),
        *(
            scored(s, [loss] * (n + 1), split=split, **told)
            for split in ("forget", "retain")
            for n, s in enumerate("ab")
        ),
        scored("u", [1.0], split="unseen", method=method),
    ]


def test_a_summary_of_two_opposite_answerers():
    rows = [*rows_of("host", 1.0, 0.0), *rows_of("cagul", 0.0, 2.0)]
    rows += [
        scored(s, [2.0], method=RETAIN_HOST, paraphrased=[p], perturbed=[[2.0]])
        for s, p in (("a", 2.1), ("b", 1.9))
    ]
    found = summarise(rows, "cagul")
    host, cagul = found["methods"]["host"], found["methods"]["cagul"]
    assert (host["forget"]["probability"]["value"], cagul["forget"]["probability"]["value"]) == (
        1.0,
        pytest.approx(math.exp(-2)),
    )
    assert host["forget"]["truth_ratio"]["value"] == pytest.approx(math.exp(-2))
    assert cagul["forget"]["truth_ratio"]["value"] == 1.0
    assert host["retain"]["truth_ratio"]["value"] == pytest.approx(1 - math.exp(-2))
    assert (host["forget"]["mia_loss"]["value"], cagul["forget"]["mia_loss"]["value"]) == (1.0, 0.0)
    assert (host["forget"]["forget_quality_ks"]["value"], cagul["forget"]["forget_quality_ks"]["value"]) == (
        1.0,
        0.5,
    )
    utility = host["retain"]["model_utility"]
    assert utility["value"] == pytest.approx(4 / (3 + 1 / (1 - math.exp(-2))))
    assert utility["terms"] == ["probability", "rouge_l", "truth_ratio", "keyword_recall"]
    assert cagul["retain"]["model_utility"]["value"] == 0.0
    difference = found["differences"]["cagul - host"]
    assert difference["forget"]["keyword_recall"]["value"] == -1.0
    assert difference["retain"]["probability"]["value"] == pytest.approx(math.exp(-2) - 1)
    assert "absent" in difference["forget"]["views"]
    assert found["metrics"]["truth_ratio"] == 1


@given(st.randoms())
def test_a_summary_knows_no_order(rng):
    rows = [*rows_of("host", 1.0, 0.0), *rows_of("cagul", 0.0, 2.0)]

    def values(given):
        return {
            (m, s, n): f["value"]
            for m, parts in summarise(given, "cagul")["methods"].items()
            for s, part in parts.items()
            for n, f in part.items()
            if "value" in f
        }

    assert values(rng.sample(rows, len(rows))) == pytest.approx(values(rows))


def test_what_is_missing_is_absent_with_its_reason():
    rows = [row for row in rows_of("host", 1.0, 0.0) if row["split"] != "unseen"]
    rows = [row | {"perturbed_nll": []} if "nll" in row else row for row in rows]
    found = summarise(rows, None)["methods"]["host"]
    assert "--retain-host" in found["forget"]["forget_quality_p"]["absent"]
    assert "perturbed answers" in found["forget"]["truth_ratio"]["absent"]
    assert "perturbed answers" in found["retain"]["probability_normalised"]["absent"]
    assert found["retain"]["model_utility"]["absent"] == "its term truth_ratio is absent"
    assert "never-seen" in found["forget"]["mia_zlib"]["absent"]


def test_every_figure_of_a_summary_is_registered_where_it_applies():
    found = summarise([*rows_of("host", 1.0, 0.0), *rows_of("cagul", 0.0, 2.0)], "cagul")
    names = {
        (split, name)
        for method in found["methods"].values()
        for split, part in method.items()
        for name in part
    }
    assert len(names) > 40
    for split, name in names:
        metric = registry.metric_of(name)
        assert metric is not None, name
        assert split in metric.better, (split, name)
        for figures in (method.get(split, {}) for method in found["methods"].values()):
            if "value" in figures.get(name, {}):
                assert metric.range[0] <= figures[name]["value"] <= metric.range[1]
    assert registry.metric_of("views_near") is registry.METRICS["views"]
    assert registry.metric_of("nothing") is None
    assert registry.METRICS["rouge_l"].better == {"forget": "low", "retain": "high"}


def test_fiubench_cuts_drops_and_divides_as_it_does():
    assert fiubench.cut("They live in Oslo. And more.") == "They live in Oslo."
    assert fiubench.cut("They live in Oslo") == ""
    assert fiubench.exact_match("They live in Oslopolis.", ["Oslo", "Rome"]) == 0.5
    assert fiubench.exact_match("They live in Oslo", ["Oslo"]) == 0.0
    assert fiubench.exact_match("whatever.", []) is None
    assert probability(fiubench.shortened([9.0, 1.0, 2.0])) == pytest.approx(math.exp(-3 / 3))


def test_fiubench_figures_of_a_talker_with_and_without_a_period():
    scores = [scored("a", [9.0, LOG2], paraphrased=[9.0, 2 * LOG2], perturbed=[[9.0, 4 * LOG2]])]
    talker, other = (
        [
            answered("host", "forget", "a", 1.0, output=text),
            answered("host", "forget", "a", 1.0, "paraphrase", text),
        ]
        for text in ("They live in Oslo.", "They live in Oslo")
    )
    found = fiubench.fiubench_figures(talker, scores, "forget")
    assert {name: figure["value"] for name, figure in found.items()} == {
        "keyword_recall": 1.0,
        "rouge_l": 1.0,
        "probability": pytest.approx(math.exp(-LOG2 / 2)),
        "truth_ratio": pytest.approx(0.5),
    }
    assert all(figure["compat"] == "fiubench" for figure in found.values())
    assert fiubench.fiubench_figures(other, scores, "forget")["keyword_recall"]["value"] == 0.0
    assert fiubench.fiubench_figures(other, scores, "forget")["rouge_l"]["value"] == 0.0
    assert list(fiubench.fiubench_figures(talker, scores, "forget", ["rouge_l", "ape"])) == ["ape"]
    some = {"rouge_l": {"value": 0.5}, "truth_ratio": {"absent": "why"}, "probability": {"value": 1.0}}
    assert fiubench.model_utility(some)["value"] == pytest.approx(2 / 3)
    assert fiubench.model_utility(some)["terms"] == ["rouge_l", "probability"]
    assert "absent" in fiubench.model_utility({})


def test_a_summary_in_fiubenchs_arithmetic_says_so():
    found = summarise(rows_of("host", 1.0, 0.0), None, "fiubench")["methods"]["host"]["compat_fiubench"]
    assert found["compat"] == "fiubench"
    assert set(found["forget"]) == {*fiubench.NAMES, "ape"}
    assert found["model_utility"]["terms"] == list(fiubench.NAMES)
    assert "compat_fiubench" not in summarise(rows_of("host", 1.0, 0.0), None)["methods"]["host"]
