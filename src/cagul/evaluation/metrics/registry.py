"""Every figure of a summary as a typed object: where it applies, which way is better, its range and version.
No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cagul.data.edits import HELD_OUT_KINDS
from cagul.data.edits import MEANINGS as EDITS
from cagul.data.wordings import MEANINGS as WORDINGS
from cagul.data.wordings import UNTRAINED, VISUAL_MEANINGS
from cagul.evaluation.metrics.edits import leak_name as edits_name
from cagul.evaluation.metrics.filtered import FILTERED, filtered_name
from cagul.evaluation.metrics.pure_text import TASKS
from cagul.evaluation.metrics.words import leak_name, visual_name

Better = Literal["low", "high", "0.5", "-"]
# version of how terms are found in answers; 2: in any form and script, with endings (cagul.text.matching)
RECALL = 2
# version of how refusals are recognised; 2: in many languages (cagul.text.refusals); 3: of those judged;
# 4: fewer answers in further languages are judged by a word that they share with a known one
REFUSAL = 4
INTERVALS = 2  # version of how intervals are computed; 2: wider for few people, never of no width
VIEW_KINDS = ("_near", "_far")  # suffixes of figures that are also given by the sort of view


@dataclass(frozen=True)
class Metric:
    """One figure. ``better`` maps the splits where it applies to the better direction; a new ``version`` is
    another number.
    """

    name: str
    better: Mapping[str, Better]
    what: str
    source: str = "ours"
    range: tuple[float, float] = (0.0, 1.0)
    version: int = 1
    detail: str = ""


LOW_HIGH: dict[str, Better] = {"forget": "low", "retain": "high"}
HIGH_HIGH: dict[str, Better] = {"forget": "high", "retain": "high"}
FORGET_LOW: dict[str, Better] = {"forget": "low"}
FORGET_HIGH: dict[str, Better] = {"forget": "high"}
RETAIN_HIGH: dict[str, Better] = {"retain": "high"}
RETAIN_LOW: dict[str, Better] = {"retain": "low"}
GATE_HIGH: dict[str, Better] = {"gate": "high"}
GATE_LOW: dict[str, Better] = {"gate": "low"}
COST: dict[str, Better] = {"cost": "low"}
MLLMU = "MLLMU-Bench, arXiv 2410.22108"
TOFU, FIUBENCH, UNBOUNDED = "TOFU, arXiv 2401.06121", "FIUBench, arXiv 2411.03554", (0.0, float("inf"))


def _mia(name: str, what: str, source: str) -> tuple[Metric, Metric]:
    """A membership figure and its distance from one half: far below one half betrays the subject just as
    well.
    """
    return (
        Metric(f"mia_{name}", {"forget": "0.5"}, f"AUROC of {what}, forget against never seen", source),
        Metric(
            f"mia_{name}_distance", FORGET_LOW, f"how far mia_{name} is from one half", "ours", (0.0, 0.5)
        ),
    )


_ALL = (
    Metric(
        "leak",
        FORGET_LOW,
        "private facts still said, gate misses too",
        detail="mean of keyword_recall, ape and views",
        version=RECALL,
    ),
    Metric(
        "leak_fired",
        FORGET_LOW,
        "the same where the gate fired",
        detail="what the encoder leaves",
        version=RECALL,
    ),
    Metric(
        "keyword_recall",
        LOW_HIGH | {"unseen": "-"},
        "keywords said, on training images",
        FIUBENCH,
        detail="whole words in any form of Unicode, with their language's endings",
        version=RECALL,
    ),
    Metric("ape", FORGET_LOW, "keywords said, in held-out phrasings", FIUBENCH, version=RECALL),
    Metric("views", FORGET_LOW, "keywords said, on held-out views", version=RECALL),
    Metric(
        "text_only",
        FORGET_LOW,
        "the same without the picture; names covered",
        detail="asked in the best of three ways",
        version=RECALL,
    ),
    *(
        Metric(f"text_only_{way}", FORGET_LOW, f"the same, {description}", version=RECALL)
        for way, description in (
            ("named", "with the name in the question"),
            ("told", "with another fact in the question"),
            ("bare", "the question alone"),
        )
    ),
    Metric(
        "image_named",
        FORGET_LOW,
        "facts still said where the question names the person in the picture",
        version=RECALL,
    ),
    Metric(
        "stranger_named",
        FORGET_LOW,
        "facts still said where the question names them over a stranger's picture",
        version=RECALL,
    ),
    Metric(
        "benign_withheld",
        FORGET_LOW,
        "refusals of benign prompts that name the person",
        detail="such as a toast; of those that the host answers without a private fact",
        version=REFUSAL,
    ),
    Metric(
        "benign_withheld_filtered",
        FORGET_LOW,
        "the same, with the answers that the output filter withholds",
        version=REFUSAL,
    ),
    Metric("benign_refused", {"forget": "-"}, "refusals of all these prompts", version=REFUSAL),
    Metric("benign_identical", FORGET_HIGH, "answers to all these prompts, equal to the host's"),
    Metric(
        "pure_text",
        LOW_HIGH,
        "keywords said in answer to a benchmark's questions without a picture",
        MLLMU,
        detail="such as MLLMU-Bench's pure text and UMU-Bench's questions of one modality",
        version=RECALL,
    ),
    *(
        Metric(f"pure_text_{task}", LOW_HIGH, f"the same, of {description}", MLLMU, version=RECALL)
        for task, description in TASKS.items()
    ),
    Metric("pure_text_rouge_l", LOW_HIGH, "ROUGE-L recall of the full answers to the same questions", MLLMU),
    Metric("pure_text_identical", RETAIN_HIGH, "answers to the same questions, equal to the host's"),
    Metric("pure_text_withheld", RETAIN_LOW, "answers to the same questions that the filter withholds"),
    Metric(
        "leak_words",
        FORGET_LOW,
        "facts still said when they are asked in other words",
        detail="mean over the kinds in which the host itself tells at least half, which it lists",
        version=RECALL,
    ),
    Metric(
        "leak_worst_wording",
        FORGET_LOW,
        "the same of the kind that brings out most",
        detail="which it names",
        version=RECALL,
    ),
    *(
        Metric(
            leak_name(kind),
            FORGET_LOW,
            f"the same, asked {description}",
            detail="never trained" if kind in UNTRAINED else "",
            version=RECALL,
        )
        for kind, description in WORDINGS.items()
    ),
    Metric(
        "leak_edits",
        FORGET_LOW,
        "facts still said when the picture is edited",
        detail="mean over the edits on which the host itself tells at least half; by_edit lists them",
        version=RECALL,
    ),
    Metric(
        "leak_worst_edit",
        FORGET_LOW,
        "the same of the edit that brings out most",
        detail="which it names",
        version=RECALL,
    ),
    Metric(
        "leak_edits_held_out",
        FORGET_LOW,
        "leak_edits of the kinds that no gate enrols",
        version=RECALL,
    ),
    Metric(
        "leak_attacks",
        FORGET_LOW,
        "facts that some query of some attack brings out, by answers alone",
        detail="within the budget of the comparison's attacks",
        version=RECALL,
    ),
    Metric(
        "leak_attacks_all",
        FORGET_LOW,
        "the same by attackers who also read scores of given answers or hold the weights",
        detail="where the method has them",
        version=RECALL,
    ),
    Metric(
        "leak_attacks_excess",
        FORGET_LOW,
        "leak_attacks less what the same queries bring out of a host that never knew",
        range=(-1.0, 1.0),
        version=RECALL,
    ),
    *(
        Metric(
            edits_name(kind),
            FORGET_LOW,
            f"the same of pictures {description}",
            detail="never enrolled" if kind in HELD_OUT_KINDS else "",
            version=RECALL,
        )
        for kind, description in EDITS.items()
    ),
    *(
        Metric(filtered_name(name), FORGET_LOW, f"{name} with the output filter on", version=RECALL)
        for name in FILTERED
    ),
    Metric("withheld", {"retain": "low", "unseen": "low"}, "answers that the output filter withholds"),
    Metric("rouge_l", LOW_HIGH, "ROUGE-L recall of the full answer, stemmed", TOFU),
    Metric(
        "probability",
        LOW_HIGH,
        "of the true answer, over all its tokens",
        TOFU,
        detail="exp(-l), l the mean negative log-likelihood",
    ),
    Metric("probability_normalised", RETAIN_HIGH, "P(answer) / (P(answer) + sum of P(perturbed))", TOFU),
    Metric(
        "truth_ratio",
        HIGH_HIGH,
        "R = exp(l(paraphrased) - mean l(perturbed)); forget min(R, 1/R), retain max(0, 1 - R)",
        TOFU,
    ),
    Metric("truth_ratio_arithmetic", HIGH_HIGH, "the same with the arithmetic mean of P(perturbed)", TOFU),
    Metric(
        "forget_quality_p",
        {"forget": "high"},
        "Kolmogorov-Smirnov p-value of R against the retain host's",
        TOFU,
    ),
    Metric(
        "forget_quality_ks",
        FORGET_LOW,
        "distance from a host trained without them",
        TOFU,
        detail="Kolmogorov-Smirnov statistic of R",
    ),
    *_mia("loss", "the loss", "Yeom et al., arXiv 1709.01604"),
    *_mia("min_k", "the mean of the lowest 20 % of token log-likelihoods", "Min-K %, arXiv 2310.16789"),
    *_mia(
        "min_k_plus_plus", "the same, standardised by each position's vocabulary", "Min-K++, arXiv 2404.02936"
    ),
    *_mia("zlib", "the loss by compressed length", "Carlini et al., arXiv 2012.07805"),
    Metric(
        "refusal_rate",
        {"forget": "-", "retain": "low", "unseen": "-"},
        "answers that refuse",
        detail="of those that can be judged",
        version=REFUSAL,
    ),
    Metric("refusal_rate_views", {"forget": "-"}, "the same on held-out views", version=REFUSAL),
    Metric(
        "visual_accuracy",
        {"forget": "high", "retain": "high", "unseen": "high"},
        "right answers about what is seen",
        version=RECALL,
    ),
    Metric(
        "visual_untrained",
        FORGET_HIGH,
        "the same in kinds of questions that were never trained",
        detail="mean over the kinds in which the host itself is right in at least half, which it lists",
        version=RECALL,
    ),
    *(
        Metric(visual_name(kind), FORGET_HIGH, f"the same, {description}", version=RECALL)
        for kind, description in VISUAL_MEANINGS.items()
    ),
    Metric(
        "identical",
        {"forget": "-", "retain": "high", "unseen": "high"},
        "answers equal to the host's",
        detail="token for token",
    ),
    Metric(
        "identical_edits",
        {"retain": "high", "unseen": "high"},
        "the same for edited pictures",
    ),
    Metric(
        "max_logit_difference",
        {"retain": "low"},
        "largest logit difference from the host, gate silent",
        "ours",
        UNBOUNDED,
    ),
    Metric("misfire_keep", RETAIN_HIGH, "facts kept when the gate fires wrongly", version=RECALL),
    Metric(
        "model_utility",
        RETAIN_HIGH,
        "harmonic mean of probability, rouge_l, truth_ratio and keyword_recall",
        TOFU,
        version=RECALL,
    ),
    Metric("tpr_at_1_fpr", GATE_HIGH, "hits at 1 % false alarms on unseen people"),
    Metric("auroc_unseen", GATE_HIGH, "AUROC against unseen people"),
    Metric("auroc_retain", GATE_HIGH, "AUROC against retain people"),
    Metric("fpr_unseen", GATE_LOW, "false alarms on unseen people"),
    Metric("fpr_retain", GATE_LOW, "false alarms on retain people"),
    Metric("fpr_lookalike", GATE_LOW, "false alarms on look-alikes"),
    Metric("fpr_no_person", GATE_LOW, "false alarms on pictures without a person"),
    Metric("fpr_edits_unseen", GATE_LOW, "false alarms on unseen people's edited pictures"),
    Metric("fpr_edits_retain", GATE_LOW, "false alarms on retain people's edited pictures"),
    *(
        Metric(name, GATE_LOW, what)
        for part, who in (
            ("unseen", "pictures of unseen people"),
            ("retain", "pictures of retain people"),
            ("lookalike", "pictures of look-alikes"),
            ("no_person", "pictures without a person"),
            ("edits_unseen", "edited pictures of unseen people"),
            ("edits_retain", "edited pictures of retain people"),
        )
        for name, what in (
            (f"named_{part}", f"{who} whom the host itself says to be forgotten people"),
            (f"fires_{part}", f"{who} on which the guard fires, false alarms and named ones"),
        )
    ),
    Metric(
        "fnr_edits",
        GATE_LOW,
        "forgotten people's edited pictures that it misses",
        detail="over the edits that leak_edits counts",
    ),
    Metric("fnr", GATE_LOW, "forgotten people's views that it misses"),
    Metric(
        "fnr_worst_person", GATE_LOW, "misses of the person missed most; by_person lists all, without names"
    ),
    Metric("people_with_any_alarm", GATE_LOW, "unseen people with at least one false alarm"),
    Metric(
        "calibration_curve",
        {"gate": "-"},
        "share of forgotten people's pictures by score, in bins of equal size",
    ),
    Metric(
        "text_only_identical",
        GATE_HIGH | RETAIN_HIGH,
        "answers without a picture, equal to the host's",
        detail="of the gate to questions about nobody, of retain to questions that name the person",
    ),
    Metric("ms_a_query_host", COST, "milliseconds a query, bare host", "ours", UNBOUNDED),
    Metric("ms_a_query_silent", COST, "milliseconds a query, silent gate", "ours", UNBOUNDED),
    Metric("ms_a_query_fired", COST, "milliseconds a query, fired gate", "ours", UNBOUNDED),
    Metric("trainable_parameters", COST, "parameters that unlearning trains", "ours", UNBOUNDED),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
_BY_VIEW = ("views", "tpr_at_1_fpr", "auroc_unseen")
SPLITS = ("forget", "retain", "unseen", "gate", "cost")


def _meanings() -> dict[tuple[str, str], str]:
    meanings = {}
    for split in SPLITS:
        for metric in _ALL:
            if split not in metric.better:
                continue
            meanings[split, metric.name] = metric.what
            if metric.name in _BY_VIEW:
                for kind in VIEW_KINDS:
                    meanings[split, metric.name + kind] = f"{metric.what}, {kind.removeprefix('_')} views"
    return meanings


MEANINGS = _meanings()  # (split, figure) -> what it is, in the order of tables


def metric_of(name: str) -> Metric | None:
    """The metric behind a figure's name; ``views_near`` and ``auroc_unseen_far`` are their metric by the sort
    of view.
    """
    for suffix in VIEW_KINDS:
        name = name.removesuffix(suffix)
    return METRICS.get(name)


def versions(summary: dict) -> dict[str, int]:
    """Name and version of every registered figure that a summary's methods hold, and of their intervals."""
    held = {name for parts in summary["methods"].values() for figures in parts.values() for name in figures}
    known = {metric.name for metric in map(metric_of, held) if metric}
    held_versions = {metric.name: metric.version for metric in METRICS.values() if metric.name in known}
    return held_versions | {"intervals": INTERVALS}


def markdown() -> str:
    """All metrics as a Markdown table, one row each."""
    rows = ["| name | what it is | better | range | source | version |", "|---|---|---|---|---|---|"]
    for metric in METRICS.values():
        better = ", ".join(f"{split}: {way}" for split, way in metric.better.items())
        low, high = (f"{edge:g}" for edge in metric.range)
        what = f"{metric.what}; {metric.detail}" if metric.detail else metric.what
        rows.append(
            f"| {metric.name} | {what} | {better} | {low} to {high} | {metric.source} | {metric.version} |"
        )
    return "\n".join(rows)
