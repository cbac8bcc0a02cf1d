"""What each figure of a summary says, in a line; the order is that of tables."""

from __future__ import annotations

from cagul.evaluation.registry import METRICS

MEANINGS: dict[tuple[str, str], str] = {  # (split, figure)
    ("forget", "leak"): "private facts still said, gate misses too",
    ("forget", "leak_fired"): "the same where the gate fired",
    ("forget", "keyword_recall"): "on training images",
    ("forget", "ape"): "in held-out phrasings",
    ("forget", "views"): "on held-out views",
    ("forget", "views_near"): "on held-out views that are near the training images",
    ("forget", "views_far"): "on held-out views that are far from them",
    ("forget", "text_only"): "asked without a picture: not covered",
    ("forget", "text_only_named"): "the same, with the name in the question",
    ("forget", "text_only_told"): "the same, with another fact in the question",
    ("forget", "text_only_bare"): "the same, with nothing about the person",
    ("forget", "refusal_rate"): "answers that refuse",
    ("forget", "refusal_rate_views"): "answers that refuse, on held-out views",
    ("forget", "visual_accuracy"): "questions about what is seen",
    ("forget", "identical"): "answers of forgotten people, equal to the host's",
    ("retain", "identical"): "answers of retain people, equal to the host's",
    ("retain", "keyword_recall"): "facts of retain people that are said",
    ("retain", "refusal_rate"): "answers about retain people that refuse",
    ("retain", "visual_accuracy"): "questions about what is seen",
    ("retain", "misfire_keep"): "facts kept when the gate fires wrongly",
    ("retain", "max_logit_difference"): "largest logit difference where the gate is silent",
    ("unseen", "identical"): "answers of unseen people, equal to the host's",
    ("unseen", "keyword_recall"): "facts of unseen people that are said",
    ("unseen", "refusal_rate"): "answers about unseen people that refuse",
    ("unseen", "visual_accuracy"): "questions about what is seen",
    ("gate", "tpr_at_1_fpr"): "hit rate at 1 % false alarms on unseen people",
    ("gate", "tpr_at_1_fpr_near"): "the same, near views",
    ("gate", "tpr_at_1_fpr_far"): "the same, far views",
    ("gate", "auroc_unseen"): "AUROC against unseen people",
    ("gate", "auroc_unseen_near"): "the same, near views",
    ("gate", "auroc_unseen_far"): "the same, far views",
    ("gate", "auroc_retain"): "AUROC against retain people",
    ("gate", "fpr_unseen"): "false alarms on unseen people",
    ("gate", "fpr_retain"): "false alarms on retain people",
    ("gate", "fpr_lookalike"): "false alarms on look-alikes",
    ("gate", "fpr_no_person"): "false alarms on pictures without a person",
    ("gate", "fnr"): "forgotten people's pictures that the gate misses",
    ("gate", "fnr_worst_person"): "the same, of the person missed most",
    ("gate", "people_with_any_alarm"): "unseen people with any false alarm",
    ("gate", "text_only_identical"): "answers without a picture, equal to the host's",
}
MEANINGS |= {(split, m.name): m.what for m in METRICS.values() for split in m.better if (split, m.name) not in MEANINGS}
