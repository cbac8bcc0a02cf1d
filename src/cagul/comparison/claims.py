"""Six claims about cagul, each tested on the rows of a comparison: it holds, it does not, or it cannot be
told. No torch here.

A verdict needs an interval: what an interval of 95 % over people leaves open cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cagul.comparison.contrasts import TERMS, MethodRows, difference_of, ks_to, mia_distance, over_people
from cagul.evaluation.metrics.figures import format_figure
from cagul.evaluation.result_rows import LikelihoodRow

Verdict = Literal["holds", "does not hold", "cannot be told"]
KEPT = 0.98  # share of answers about others that is to stay the same
SAME = 0.02  # how far a figure may differ that does not change
FINETUNED = ("ga", "gd", "kl", "po", "npo", "npo_retain", "dpo", "rmu")
PAPER_FIGURES = tuple(TERMS)
LOW = ("leak", "probability")  # better when low; the others when high
NOT_RUN, NOBODY = "was not in this comparison", "No finetuning baseline was in this comparison."


def claims(
    summary: Mapping[str, Any],
    rows: Mapping[str, MethodRows],
    retain_host: Sequence[LikelihoodRow],
    measured: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Every claim with its verdict and the figures behind it. ``measured`` is what benchmarks/to_same_leak.py
    wrote.
    """
    if "cagul" not in rows:
        return []
    finetuned = [name for name in rows if name.removesuffix("_full") in FINETUNED]
    return [
        _pareto(rows, finetuned),
        _likelihoods(rows, finetuned, retain_host),
        _identical(summary, finetuned),
        _cheaper(measured),
        _refusal(summary, rows),
        _paper(rows),
    ]


def _claim(number: int, text: str, verdict: Verdict, figures: Sequence[str]) -> dict[str, Any]:
    return {"number": number, "claim": text, "verdict": verdict, "figures": list(figures)}


def _signed(figure: Mapping[str, Any]) -> str:
    """A difference in words."""
    return format_figure(figure, interval_digits=3, sign=True)


def _plain(figure: Mapping[str, Any]) -> str:
    """A figure in words."""
    return format_figure(figure, interval_digits=3)


def clearly(figure: Mapping[str, Any], side: Literal["below", "above"], bar: float = 0.0) -> bool:
    """Whether a figure's whole interval is at one side of a bar, the bar itself outside it."""
    if "low" not in figure:
        return False
    return figure["high"] < bar if side == "below" else figure["low"] > bar


def within(figure: Mapping[str, Any], low: float, high: float) -> Verdict:
    """Whether a figure's whole interval lies within bounds, the bounds themselves inside, or wholly outside
    of them.
    """
    if "low" not in figure:
        return "cannot be told"
    if figure["high"] < low or figure["low"] > high:
        return "does not hold"
    return "holds" if low <= figure["low"] and figure["high"] <= high else "cannot be told"


def _pareto(rows: Mapping[str, MethodRows], finetuned: list[str]) -> dict[str, Any]:
    text = "No finetuning baseline has both a lower leak and a higher model_utility than cagul."
    lines, states = [], []
    for name in finetuned:
        leak, utility = (
            difference_of(figure, rows["cagul"], rows[name]) for figure in ("leak", "model_utility")
        )
        if "value" not in leak or "value" not in utility:
            states.append("cannot be told")
            lines.append(f"{name}: leak {_signed(leak)}, model_utility {_signed(utility)}")
            continue
        beaten = leak["value"] > 0 and utility["value"] < 0
        if clearly(leak, "above") and clearly(utility, "below"):
            states.append("does not hold")
        else:
            no_worse = leak.get("high", 1.0) <= 0 or utility.get("low", -1.0) >= 0
            states.append("holds" if no_worse else "cannot be told")
        lines.append(
            f"cagul less {name}: leak {_signed(leak)}, model_utility {_signed(utility)}"
            + (": better in both by the values alone" if beaten else "")
        )
    return _claim(1, text, _worst(states), lines or [NOBODY])


def _worst(states: Sequence[str]) -> Verdict:
    if not states or "cannot be told" in states:
        return "does not hold" if "does not hold" in states else "cannot be told"
    return "does not hold" if "does not hold" in states else "holds"


def _likelihoods(
    rows: Mapping[str, MethodRows], finetuned: list[str], retain_host: Sequence[LikelihoodRow]
) -> dict[str, Any]:
    text = (
        "KS distance to the retain host on forget, and |membership AUROC - 0.5|, at or below the best "
        "finetuning baseline's."
    )
    if not retain_host:
        return _claim(2, text, "cannot be told", ["There is no retain host."])
    lines, states = [], []
    measures = {
        "KS": ks_to(retain_host),
        "|AUROC - 0.5| of the loss": mia_distance("loss"),
        "|AUROC - 0.5| of Min-K++": mia_distance("min_k_plus_plus"),
    }
    for words, measure in measures.items():
        own = over_people(measure, rows["cagul"])
        baselines = {name: over_people(measure, rows[name]) for name in finetuned}
        known = {name: figure for name, figure in baselines.items() if "value" in figure}
        if not known or "value" not in own:
            states.append("cannot be told")
            lines.append(f"{words}: {own.get('absent', NOBODY)}")
            continue
        name = min(known, key=lambda one: known[one]["value"])
        apart = over_people(measure, rows["cagul"], rows[name])
        state = (
            "does not hold"
            if clearly(apart, "above")
            else "holds"
            if apart.get("high", 1.0) <= 0
            else "cannot be told"
        )
        states.append(state)
        lines.append(
            f"{words}: cagul {_plain(own)}, best finetuning baseline {name} {_plain(known[name])}; "
            f"cagul less {name} {_signed(apart)}: {state}"
        )
    return _claim(2, text, _worst(states), lines)


def _identical(summary: Mapping[str, Any], finetuned: list[str]) -> dict[str, Any]:
    text = (
        f"Answers about retained and unseen people are the host's own in at least {KEPT}, where finetuning "
        "changes them."
    )
    lines, states = [], []
    if not finetuned:
        states.append("cannot be told")
        lines.append(NOBODY)
    for split in ("retain", "unseen"):
        own = summary["methods"]["cagul"].get(split, {}).get("identical", {"absent": "nobody was asked"})
        baselines = {name: summary["methods"][name].get(split, {}).get("identical", {}) for name in finetuned}
        kept, changed = (
            within(own, KEPT, 1.0),
            {name: within(figure, 0.0, KEPT) for name, figure in baselines.items()},
        )
        states += [kept, *changed.values()]
        lines.append(f"{split}: cagul {_plain(own)}: {kept}")
        known = {name: figure for name, figure in baselines.items() if "value" in figure}
        if known:
            best = max(known, key=lambda name: known[name]["value"])
            lines.append(
                f"{split}: finetuning changes them, at most {best} keeps {_plain(known[best])}: "
                f"{_worst([*changed.values()])}"
            )
    return _claim(3, text, _worst(states), lines)


def _cheaper(measured: Mapping[str, Any] | None) -> dict[str, Any]:
    text = (
        "Less time and memory than gradient difference to the same leak, and than any finetune for one more "
        "person."
    )
    if measured is None:
        return _claim(
            4,
            text,
            "cannot be told",
            ["Measured apart, by benchmarks/to_same_leak.py: its figures are not there."],
        )
    target, lines, states = measured["target"], [], []
    pairs = {
        f"to a leak of {target}": (measured["reached"], "cagul", "gd"),
        "one more person": (measured["one_more"], "enrol", "gd_one_more"),
    }
    for what, (runs_of, own, other) in pairs.items():
        ours, others = runs_of.get(own, []), runs_of.get(other, [])
        missed = [
            name
            for name, runs in ((own, ours), (other, others))
            if not all(run["leak"] <= target for run in runs) or not runs
        ]
        for key, unit in (("cpu_seconds", "CPU seconds"), ("peak_mib", "MiB above the loaded host")):
            mine, theirs = ([run[key] for run in runs] for runs in (ours, others))
            state = "cannot be told" if missed else apart(mine, theirs)
            why = f" ({', '.join(missed)} did not reach it in every run)" if missed else ""
            states.append(state)
            lines.append(f"{what}, {unit}: {own} {_ends(mine)}, {other} {_ends(theirs)}: {state}{why}")
    lines.append(
        "Lowest and highest of the runs; gradient difference is the only finetune that was measured."
    )
    return _claim(4, text, _worst(states), lines)


def apart(mine: Sequence[float], theirs: Sequence[float]) -> Verdict:
    """Whether all of ours are below all of theirs, or all above; a single run of either says nothing about
    their spread.
    """
    if min(len(mine), len(theirs)) < 2:
        return "cannot be told"
    return (
        "holds"
        if max(mine) < min(theirs)
        else "does not hold"
        if min(mine) > max(theirs)
        else "cannot be told"
    )


def _ends(values: Sequence[float]) -> str:
    return f"{min(values):,.1f} to {max(values):,.1f} (n {len(values)})" if values else "not measured"


def _refusal(summary: Mapping[str, Any], rows: Mapping[str, MethodRows]) -> dict[str, Any]:
    text = (
        "Against gate_refusal the encoder keeps visual questions on forgotten people's pictures, and changes "
        "nothing else."
    )
    if "gate_refusal" not in rows:
        return _claim(5, text, "cannot be told", [f"gate_refusal {NOT_RUN}."])
    names = ("visual_accuracy", "leak", "identical, retain", "identical, unseen")
    differences = {name: difference_of(name, rows["cagul"], rows["gate_refusal"]) for name in names}
    seen = differences["visual_accuracy"]
    kept: Verdict = (
        "holds" if clearly(seen, "above") else "does not hold" if clearly(seen, "below") else "cannot be told"
    )
    states = {
        name: kept if name == names[0] else within(figure, -SAME, SAME)
        for name, figure in differences.items()
    }
    state = _worst([*states.values()])
    lines = [
        f"cagul less gate_refusal, {name}: {_signed(figure)}: {states[name]}"
        for name, figure in differences.items()
    ]
    lines.append(f"that nothing else changes is to say: by at most {SAME} either way")
    costs = [summary["methods"][name]["cost"].get("cpu_seconds") for name in ("cagul", "gate_refusal")]
    if None not in costs:
        lines.append(
            f"what it costs: training {costs[0]:.0f} CPU seconds against {costs[1]:.0f} for the gate alone, "
            "and the leak above"
        )
    keep = summary["methods"]["cagul"]["retain"].get("misfire_keep", {})
    lines.append(
        f"facts of retained people kept when the gate fires on them: cagul {_plain(keep)}, a canned "
        "refusal none"
    )
    return _claim(5, text, state, lines)


def _paper(rows: Mapping[str, MethodRows]) -> dict[str, Any]:
    text = "Our defaults help beside the paper's preset, cagul_paper."
    if "cagul_paper" not in rows:
        return _claim(6, text, "cannot be told", [f"cagul_paper {NOT_RUN}."])
    lines, helped, harmed = [], [], []
    for name in PAPER_FIGURES:
        difference = difference_of(name, rows["cagul"], rows["cagul_paper"])
        word = _better_or_worse(name, difference)
        helped += [name] if word == "better" else []
        harmed += [name] if word == "worse" else []
        lines.append(f"cagul less cagul_paper, {name}: {_signed(difference)}: {word}")
    state: Verdict = (
        "holds" if helped and not harmed else "does not hold" if harmed and not helped else "cannot be told"
    )
    if helped and harmed:
        lines.append(f"Better in {', '.join(helped)}; worse in {', '.join(harmed)}: it is a trade.")
    return _claim(6, text, state, lines)


def _better_or_worse(name: str, difference: Mapping[str, Any]) -> str:
    sides: tuple[Literal["below", "above"], ...] = ("below", "above") if name in LOW else ("above", "below")
    better, worse = (clearly(difference, side) for side in sides)
    return "better" if better else "worse" if worse else "cannot be told"
