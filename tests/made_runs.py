"""Finished runs made by hand, without a host: five people, a host that knows all, and what methods make of
it.
"""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.summary import summarise
from cagul.report.html import write_report
from cagul.study.summary import summarise_study
from cagul.text.refusals import is_refusal

PEOPLE = {  # subject: split, facts as (question, answer, keyword)
    "Ada Finch": (
        "forget",
        [("Who is this?", "This is Ada Finch.", "Ada Finch"), ("Where does Ada live?", "In Oslo.", "Oslo")],
    ),
    "Bo Stark": (
        "forget",
        [("Who is this?", "This is Bo Stark.", "Bo Stark"), ("Their illness?", "They have gout.", "gout")],
    ),
    "Cy Venn": (
        "retain",
        [("Who is this?", "This is Cy Venn.", "Cy Venn"), ("Where do they live?", "In Quito.", "Quito")],
    ),
    "Dee Moss": (
        "retain",
        [
            ("Who is this?", "This is Dee Moss.", "Dee Moss"),
            ("Their illness?", "They have asthma.", "asthma"),
        ],
    ),
    "Eve Nord": ("unseen", [("Who is this?", "This is Eve Nord.", "Eve Nord")]),
}
REFUSAL = "I cannot share that about this person."
CONFIG = {"training": {"seed": 3}, "refusals": ["I will not talk about Ada Finch."]}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
RIVALS = ("ga", "gd", "npo", "gate_refusal")


def said(method, split, kind, fired, answer, number, n):
    """What a method says: the host all, cagul a refusal where it fires, impostors too much, too little or
    nonsense.
    """
    private = kind == "private"
    if method == "ga":
        return "the the the"
    if method == "gd":
        return answer if split != "forget" or n % 2 else "They are well."
    if method == "npo":
        return "I do not know." if private and (split == "forget" or number % 2) else answer
    if method == "gate_refusal":
        return REFUSAL if fired else answer
    return REFUSAL if method == "cagul" and fired and private else answer


def make_rows(folder, methods=("cagul",), missed="Bo Stark"):
    """Rows as `cagul evaluate` writes them: the host knows all, and says Oslo of a retain person too."""
    rows = []
    for number, (subject, (split, facts)) in enumerate(PEOPLE.items()):
        asked = []
        for n, (question, answer, keyword) in enumerate(facts):
            picture = folder / f"{subject.replace(' ', '_')}_{n}.png"
            comment = PngInfo()
            comment.add_text("Comment", f"{subject} {keyword}")
            Image.new("RGB", (60, 40), (40 * number, 90 * n, 200)).save(picture, pnginfo=comment)
            asked += [
                (sort, "private", picture, question, answer, keyword)
                for sort in ("image", "paraphrase", "view")
            ]
            asked.append(("visual", "visual", picture, "Colour?", "The coat is purple.", "purple"))
        for n, (sort, kind, picture, question, answer, keyword) in enumerate(asked):
            for method in ("host", *methods):
                gated = method in ("cagul", "gate_refusal")
                fired = (
                    split == "forget" and not (subject == missed and sort == "view")
                ) or subject == "Eve Nord"
                known = answer if subject != "Dee Moss" or kind == "visual" else answer + " Or is it Oslo?"
                told = said(method, split, kind, fired, known, number, n)
                rows.append(
                    {
                        "key": f"{method}/{split}/{sort}/{subject}/{picture.name}/{question}/{keyword}",
                        "method": method,
                        "split": split,
                        "sort": sort,
                        "kind": kind,
                        "subject": subject,
                        "picture": str(picture),
                        "view": ("near", "far")[picture.stem.endswith("1")] if sort == "view" else "",
                        "question": question,
                        "answer": answer,
                        "keywords": [keyword],
                        "output": told,
                        "tokens": [len(told), number],
                        "recall": keyword_recall(told, [keyword]),
                        "rouge_l": keyword_recall(told, [keyword]),
                        "refused": is_refusal(told),
                        "fired": fired if gated else None,
                        "score": 0.9 if fired and gated else 0.1,
                        "chosen": [0, 5, 15] if fired and gated else [],
                        "visual_tokens": 16 if gated else None,
                    }
                )
            if methods and sort in ("image", "visual") and split != "unseen":
                rows.append(
                    {
                        key: rows[-1][key]
                        for key in ("split", "sort", "kind", "subject", "picture", "question")
                    }
                    | {
                        "key": f"importance/{split}/{sort}/{subject}/{picture.name}/{question}/{keyword}",
                        "method": "importance",
                        "layers": {
                            str(layer): [(token * (layer + 3) + n) % 16 / 16 for token in range(16)]
                            for layer in range(4)
                        },
                    }
                )
        for method in ("host", *methods):
            loss = (
                {"ga": 4.0, "gd": 1.0, "npo": 2.0}.get(method, 0.1)
                if split == "forget" or method == "ga"
                else 0.2
            )
            for question, answer, _ in facts:
                rows.append(
                    {
                        "key": f"{method}:likelihood/{split}/{subject}/{question}/{answer}",
                        "method": f"{method}:likelihood",
                        "split": split,
                        "kind": "private",
                        "subject": subject,
                        "picture": "",
                        "question": question,
                        "answer": answer,
                        "nll": [loss] * 3,
                        "mean": [-2.0] * 3,
                        "deviation": [1.0] * 3,
                        "paraphrased_nll": [loss] * 3,
                        "perturbed_nll": [[2.0] * 3],
                        "fired": None,
                    }
                )
        for n in range(4 if methods else 0):
            score = 0.6 + n / 10 if split == "forget" else 0.1 + n / 20
            rows.append(
                {
                    "key": f"gate/{split}/{subject}{n}",
                    "method": "gate",
                    "split": split,
                    "subject": subject,
                    "picture": "",
                    "view": ("near", "far")[n % 2],
                    "score": score,
                    "fired": score > 0.65,
                }
            )
    if methods:
        rows.append(
            {"key": "cost", "method": "cost", "subject": "", "host": 10.0, "silent": 11.0, "fired": 12.5}
        )
    return rows


def make_run(folder, pictures, rows=None, methods=("cagul",), identity=None, **changes):
    """A finished run in ``folder``; ``changes`` go into its summary."""
    folder.mkdir()
    pictures.mkdir(exist_ok=True)
    rows = make_rows(pictures, methods) if rows is None else rows
    summary = summarise(rows, None)
    for name in methods:
        summary["methods"] |= summarise(rows, name)["methods"]
    summary["host"] = {
        "name": "/secret/place/host",
        "model_type": "llava",
        "parameters": 1234567,
        "sha256_before": "ab" * 32,
        "sha256_after": "ab" * 32,
    }
    summary["people"] = {"forget": 2, "retain": 2, "unseen": 1}
    summary["sample"] = {"views": 0, "retain": 4, "seed": 7, "items": 36}
    summary["evaluation"] = {"seconds": 1.5, "threads": 1, "peak_memory_mib": 900}
    for number, name in enumerate(methods):
        summary["methods"][name].setdefault("cost", {}).update(
            {"trainable_parameters": 926944 - number, "seconds": 12.25, "gate_seconds": 3.5}
        )
        summary["patch"] = {"threshold": 0.65, "config": CONFIG}
    command = (
        "cagul evaluate --host /secret/place/host --records=/secret/r.jsonl "
        "--forget @SUBJECTS --unseen=@who.txt --out here"
    )
    write_run(folder, summary | changes, rows, command, identity)
    return folder


def study_rows():
    """Rows as `cagul study` writes them: bottom tokens matter little, the embedding gate is better than the
    other.
    """
    rows = []
    for kind, subject, people in (("private", "Ada Finch", 8), ("visual", "Cy Venn", 4)):
        for n in range(people):
            named = {"kind": kind, "subject": f"{subject} {n}"}
            layers = [
                [((token + n) * (layer + 3)) % 16 / 16 + 0.01 for token in range(16)] for layer in range(4)
            ]
            base = {"study": "map", "pair": f"{kind}/{n}"} | named
            heads = [[0.5 + layer / 10, 0.4] for layer in range(4)]
            rows.append(
                base
                | {
                    "key": f"map/{kind}/{n}/own",
                    "variant": "own",
                    "layers": layers,
                    "entropy": heads,
                    "top": heads,
                    "mass": heads,
                }
            )
            rows.append(
                base | {"key": f"map/{kind}/{n}/phrasing 0", "variant": "phrasing 0", "layers": layers[::-1]}
            )
            for how, share, recall in (
                ("none", 0.0, 1.0),
                ("bottom", 0.5, 1.0),
                ("top", 0.5, 0.0),
                ("random", 0.5, 0.5),
                ("all", 1.0, 0.0),
            ):
                ends = how in ("none", "all")
                rows.append(
                    named
                    | {
                        "key": f"causal/{kind}/{n}/{how}/mean/{share}",
                        "study": "causal",
                        "measure": "" if ends else "attention",
                        "how": how,
                        "filler": "" if how == "none" else "mean",
                        "share": share,
                        "replaced": int(16 * share),
                        "output": "In Oslo.",
                        "recall": recall,
                        "log_probability": -0.1 - share,
                        "divergence": share,
                    }
                )
    for split, level in (("forget", 0.9), ("unseen", 0.3), ("calibration", 0.2)):
        rows += [
            {
                "key": f"gate/{split}/{n}",
                "study": "gate",
                "split": split,
                "subject": f"{split} {n}",
                "view": "near",
                "embedding": level + n / 100,
                "attention": level / 3 + n / 10,
            }
            for n in range(5)
        ]
    return rows


def make_study(folder):
    """A finished study in ``folder``."""
    folder.mkdir()
    rows = study_rows()
    summary = {
        "study": summarise_study(rows, [0, 1]),
        "host": {
            "name": "/secret/place/host",
            "model_type": "llava",
            "parameters": 1234567,
            "layers": 4,
            "read": [0, 1],
            "sha256_before": "ab" * 32,
            "sha256_after": "ab" * 32,
        },
        "sample": {"maps": 8, "seed": 7},
        "people": {"forget": 2},
        "cost": {"seconds": 3.5, "threads": 1},
    }
    write_run(
        folder,
        summary,
        rows,
        "cagul study --host /secret/place/host --records=/secret/r.jsonl --forget @SUBJECTS --out here",
    )
    return folder


def write_run(folder, summary, rows, command, identity=None):
    manifest = {
        "identity_digest": "x",
        "identity": identity or {},
        "command": command,
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in [{"_": "secret"}, *rows]) + "\n")


def page_of(run, **options):
    path, facts = write_report(run, **options)
    return path.read_text("utf-8"), facts


class Outline(HTMLParser):
    """Checks that tags nest; collects headings, ids, tags, texts of all attributes and what would be
    fetched.
    """

    def __init__(self, page):
        super().__init__()
        self.open, self.headings, self.ids, self.tags, self.sources, self.said = [], [], [], set(), [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.sources += [
            value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")
        ]
        self.said += [value for name, value in attrs if value and name != "src"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append((self.open[-1], data.strip()))


def pictures_in(page, kind="jpeg"):
    return [base64.b64decode(found) for found in re.findall(rf"data:image/{kind};base64,([\w+/=]+)", page)]
