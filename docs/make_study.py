"""Write docs/study.md and its figures from the summaries of studies that are kept in docs/study/.

``python docs/make_study.py`` (or ``make docs``) writes them. ``python docs/make_study.py --take NAME RUN
--title "..."`` first keeps the summary of a run folder under a name.

tests/test_study_docs.py checks that the page and the figures are those of the summaries.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from cagul.data.grouping import evenly_spaced
from cagul.evaluation.metrics.figures import format_figure
from cagul.files import write_text
from cagul.report.study_charts import MEASURE_NAMES, draw, standalone, surface_variants

PAGE, KEPT = Path(__file__).parent / "study.md", Path(__file__).parent / "study"
NAMES = ("demo", "second")  # in the order of the page
KINDS = ("private", "visual", "general")


def cell(figure: dict[str, Any] | None, digits: int = 2) -> str:
    """A figure and its interval; an empty cell where it is absent."""
    return format_figure(figure, digits=digits, interval_digits=digits, absent="")


def table(columns: list[str], rows: list[list[str]]) -> str:
    return (
        "\n".join(["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]) + "\n"
    )


def picture(name: str, figure: str, alternative: str) -> str:
    return f"![{alternative}](study/{name}-{figure}.svg)\n"


def maps(found: dict[str, Any]) -> str:
    kinds = [kind for kind in KINDS if kind in found["maps"]]
    depth = len(found["maps"][kinds[0]]["mean_map"])
    named = {"mass": "attention on the picture", "entropy": "entropy", "top": "share of the top tenth"}
    columns = ["layer", *(f"{label}, {kind}" for label in named.values() for kind in kinds)]
    rows = [
        [str(layer), *(cell(found["maps"][kind]["by_layer"][key][layer]) for key in named for kind in kinds)]
        for layer in evenly_spaced(depth)
    ]
    correlated = found["maps"].get("private_visual_correlation")
    said = (
        f"The mean maps of private and visual questions correlate by {correlated:.2f}.\n\n"
        if correlated is not None
        else ""
    )
    return said + table(columns, rows)


def heads(found: dict[str, Any]) -> str:
    """The heads' own figures, of which ``maps`` gives the means: the least and the most of any head."""
    kinds, layers = list(found["heads"]), next(iter(found["heads"].values()))["layers"]
    named = {"entropy": "entropy", "top": "share of the top tenth"}

    def span(kind: str, key: str, layer: int) -> str:
        values = found["maps"][kind]["by_layer_and_head"][key][layer]
        return f"{min(values):.2f} to {max(values):.2f}"

    return table(
        ["layer", *(f"{label}, {kind}" for label in named.values() for kind in kinds)],
        [[str(layer), *(span(kind, key, layer) for key in named for kind in kinds)] for layer in layers],
    )


def stability(found: dict[str, Any]) -> str:
    kinds = [kind for kind in KINDS if kind in found["stability"]]
    names = dict.fromkeys(name for kind in kinds for name in found["stability"][kind])
    return table(
        ["what changes", *kinds], [[n, *(cell(found["stability"][k].get(n)) for k in kinds)] for n in names]
    )


def causal(found: dict[str, Any]) -> str:
    rows = [
        [kind, filler, *(cell(one["areas"].get(name)) for name in ("deletion", "random", "insertion"))]
        for kind in KINDS
        for filler, one in found["causal"].get(kind, {}).items()
    ]
    return table(
        ["questions", "replaced by", "top replaced (deletion)", "random replaced", "top kept (insertion)"],
        rows,
    )


def measures(found: dict[str, Any]) -> str:
    held = found["measures"]
    rows = [
        [
            kind,
            label,
            cell(held[kind][name].get("rank_correlation", held[kind][name])),
            *(cell(held[kind][name].get(area)) for area in ("deletion", "insertion")),
        ]
        for kind in KINDS
        if kind in held
        for name, label in MEASURE_NAMES.items()
        if name in held[kind]
    ]
    all_tried = held["sampled_tokens"] == held["visual_tokens"]
    tried = "all" if all_tried else f"a sample of {held['sampled_tokens']} of {held['visual_tokens']}"
    return f"Left out one by one: {tried} tokens.\n\n" + table(
        ["questions", "measure", "rank correlation", "deletion area", "insertion area"], rows
    )


TRAINED = ("leak", "refusal_rate", "visual_accuracy", "misfire_keep")


def trained(found: dict[str, Any], names: list[str]) -> list[list[str]]:
    variants, front = found["trainings"]["variants"], found["trainings"]["pareto"]
    return [
        [name + (" *" if name in front else ""), *(cell(variants[name][figure]) for figure in TRAINED)]
        for name in names
        if name in variants
    ]


def surface(found: dict[str, Any]) -> str:
    if "absent" in found["trainings"]:
        return f"Absent: {found['trainings']['absent']}.\n"
    names = list(surface_variants(found["trainings"]))
    if not names:
        raise KeyError("surface")  # only trainings of other questions
    return (
        table(["selection and K", *TRAINED], trained(found, names))
        + "\n\\* on the front of low leak and high misfire_keep.\n"
    )


def choices(found: dict[str, Any]) -> str:
    return table(
        ["bottom half by", *TRAINED],
        [["attention (the default)", *row[1:]] for row in trained(found, ["bottom 0.5"])]
        + trained(found, ["value_norm", "gradient"]),
    )


def layers(found: dict[str, Any]) -> str:
    agreed, took = found["layers"]["agreement_with_all"], found["layers"].get("milliseconds", {})
    variants, depth = (
        found["trainings"].get("variants", {}),
        len(next(iter(found["maps"].values()))["mean_map"]),
    )
    rows = []
    for n in sorted(
        {
            *map(int, agreed),
            *(int(name.split()[1]) for name in (*took, *variants) if name.startswith("first ")),
        }
    ):
        one = variants.get(f"first {n}", {})
        shared = "all" if n == depth else cell(agreed.get(str(n)))
        rows.append(
            [
                str(n),
                shared,
                f"{took[f'first {n}']:.1f}" if f"first {n}" in took else "",
                *(cell(one.get(figure)) for figure in ("leak", "misfire_keep")),
            ]
        )
    answer = took.get("answer of 12 tokens")
    said = f"\nFor scale: an answer of 12 tokens takes {answer:.1f} ms.\n" if answer else ""
    return (
        table(
            ["first n layers", "bottom half shared with all layers", "ms a question", "leak", "misfire_keep"],
            rows,
        )
        + said
    )


def gates(found: dict[str, Any]) -> str:
    held = found["gates"]
    if "absent" in held:
        return f"Absent: {held['absent']}.\n"
    rows = [
        [
            name,
            *(
                cell(one.get(f), 3)
                for f in ("tpr_at_1_fpr", "tpr_at_1_fpr_near", "tpr_at_1_fpr_far", "auroc_unseen")
            ),
        ]
        for name, one in held.items()
    ]
    return table(["gate", "hits at 1 % false alarms", "near views", "far views", "AUROC"], rows)


OLD_INTERVALS = (
    "The intervals of the two studies here were made before version 2 of the intervals, "
    "the wider bootstrap.\n"
)
SECTIONS = (  # title, its figure or None, --only, what it is, its numbers
    (
        "Where questions look",
        "maps",
        "maps",
        "Attention of the question's tokens to each visual token, mean over heads and pairs. Entropy is of "
        "the shares within the picture: 1 when all tokens weigh the same.",
        maps,
    ),
    (
        "The same, by head",
        "heads",
        "maps",
        "The least and the most of any head, means over pairs; in the figure each map is darker where it "
        "has more.",
        heads,
    ),
    (
        "How stable the bottom half is",
        "stability",
        "maps",
        "Share of the least attended half, by the layers that `unlearn` reads, that stays chosen when "
        "something else changes. Chance "
        "is 0.5; somebody else's picture is the floor that a layout alone gives.",
        stability,
    ),
    (
        "What replacing tokens does",
        "causal",
        "causal",
        "Areas below the curve of keyword recall as more and more tokens are replaced. If attention found "
        "what matters, replacing the "
        "top would cost more than replacing as many at random, and keeping it alone would save more.",
        causal,
    ),
    (
        "Which measure agrees with what tokens do",
        "measures",
        "measures",
        "A token's effect: how much more the host's answer changes (KL) in random groups of replaced tokens "
        "that hold it. The ceiling is what an exact measure would reach, by how well two halves of that "
        "estimate agree. Areas are of the probability of the host's own answer.",
        measures,
    ),
    (
        "Selection, K, and what a false alarm costs",
        "surface",
        "surface",
        "Short trainings that differ in these alone. Leak is what is still said of the forgotten with the "
        "gate forced open, misfire_keep what is kept of other people's facts when it fires on them.",
        surface,
    ),
    (
        "Does a better measure make a better encoder",
        None,
        "measures",
        "The same, choosing the bottom half otherwise.",
        choices,
    ),
    ("How many layers suffice", None, "layers", "The bottom half by the first n layers.", layers),
    (
        "Attention as a second gate",
        None,
        "gate",
        "A small network over attention by layer, head and token, after DHCP (arXiv 2411.18659), beside the "
        "embedding gate; `together` adds both scores in deviations from calibration people. On held-out "
        "views; alarms on people never seen.",
        gates,
    ),
)


def page(studies: dict[str, dict[str, Any]], found: str) -> str:
    """The whole page as text."""
    first = next(iter(studies.values()))
    sample = first["sample"]
    parts = [
        "# The role of visual tokens\n\n"
        "Written by `python docs/make_study.py` from the summaries in [study/](study/): do not edit.\n"
        "Each section's numbers, and its figure as SVG, come from one command, `cagul study --out RUN "
        "--only NAME`; without\n"
        "`--only` all are made. Intervals are 95 % bootstraps over people. They are widened where people are "
        "few; where\n"
        "all people have the same value, the interval is what Clopper-Pearson leaves open. One person gives "
        "no interval.\n"
        f"{OLD_INTERVALS}"
        "A figure that is missing lacks records or a host.\n",
        f"Sample, seeded: {sample['maps']} pairs of a picture and a question of each kind for maps, "
        f"{sample['causal']} for replacing, {sample['steps']} steps a training, {sample['asked']} questions "
        f"of each sort, {sample['misfire']} misfires. These short trainings leak more than the default's; "
        "read them against each other. On two quiet cores the demo's study takes six minutes (LOG.md, "
        "2026-11-27); these two were made beside other work.\n",
        table(
            ["", *(s["title"] for s in studies.values())],
            [
                [
                    "host",
                    *(
                        f"{s['host']['model_type']}, {s['host']['parameters']:,} parameters, "
                        f"{s['host']['layers']} layers"
                        for s in studies.values()
                    ),
                ],
                ["layers read", *(str(s["host"]["read"]) for s in studies.values())],
                [
                    "people forgotten, retained, unseen",
                    *(
                        ", ".join(str(s["people"][p]) for p in ("forget", "retain", "unseen"))
                        for s in studies.values()
                    ),
                ],
            ],
        ),
        found,
    ]
    charts = {name: draw(study) for name, study in studies.items()}
    for title, figure, only, description, numbers in SECTIONS:
        parts.append(f"## {title}\n\n{description} `--only {only}`\n")
        for name, study in studies.items():
            try:
                shown = numbers(study["study"])
            except KeyError:  # this study did not ask it
                continue
            drawn = (
                picture(name, figure, f"{title}: {study['title']}") + "\n" if figure in charts[name] else ""
            )
            parts.append(f"### {title}: {study['title']}\n\n{drawn}{shown}")
    return "\n".join(parts)


def kept() -> dict[str, dict[str, Any]]:
    return {
        name: json.loads(path.read_text("utf-8"))
        for name in NAMES
        if (path := KEPT / f"{name}.json").exists()
    }


def findings(studies: dict[str, dict[str, Any]]) -> str:
    """What was found, in our words; each {name:path/to/figure} is the figure itself, so that no number is
    copied by hand.
    """

    def value(place: re.Match[str]) -> str:
        found: Any = studies[place[1]]["study"]
        for part in place[2].split("/"):
            found = found[int(part)] if isinstance(found, list) else found[part]
        return cell(found)

    return re.sub(r"\{(\w+):([^}]+)\}", value, (KEPT / "findings.md").read_text("utf-8"))


def write() -> None:
    studies = kept()
    write_text(PAGE, page(studies, findings(studies)))
    for name, study in studies.items():
        for figure, chart in draw(study).items():
            write_text(KEPT / f"{name}-{figure}.svg", standalone(chart))


def take(name: str, run: Path, title: str) -> None:
    """Keep a run's summary: figures alone, no path and nobody's name."""
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    summary["host"].pop("name")
    write_text(KEPT / f"{name}.json", json.dumps({"title": title} | summary) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--take", nargs=2, metavar=("NAME", "RUN"))
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    if options.take:
        take(options.take[0], Path(options.take[1]), options.title or options.take[0])
    write()
