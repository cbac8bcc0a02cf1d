"""What a demo host reaches: asked over its own records, with pictures and phrasings that its training held
out.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cagul.data.records import Record, load_records
from cagul.evaluation.ask import Question, ask
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.guard.selfcheck import load_host
from cagul.host.frozen import FrozenHost
from demo_recipe.facts import ENGLISH, Language
from demo_recipe.people import COLOURS, draw_picture
from demo_recipe.population import members

Case = tuple[Record, Path, str]  # the record, the picture shown and the question asked
SAMPLE = 600  # questions for each figure, drawn with a seed


def host_figures(
    folder: Path, records_path: Path, without: tuple[str, ...] = (), language: Language = ENGLISH
) -> dict[str, float]:
    """The demo host's figures: those of its records, and on pictures with another background."""
    host, rng = load_host(folder), random.Random("figures")
    figures = _figures(host, rng, records_path, without, language)
    with tempfile.TemporaryDirectory() as temporary:
        swapped = _swapped(Path(temporary), without, language)
        figures["visual_background_swapped"] = _mean(host, rng, swapped, _recall)
    return figures


def record_figures(
    folder: Path, records_path: Path, without: tuple[str, ...], language: Language
) -> dict[str, float]:
    """A host's figures on its records: keyword recall or share of refusals, 0 to 1."""
    return _figures(load_host(folder), random.Random("figures"), records_path, without, language)


def _figures(
    host: FrozenHost, rng: random.Random, records_path: Path, without: tuple[str, ...], language: Language
) -> dict[str, float]:
    """``rng``: the sets draw from it in turn, so their order counts."""
    records = [r for r in load_records(records_path) if r.subject not in without]
    mean = partial(_mean, host, rng)
    private = _records(records, "known", "private")
    visual = _records(records, "known", "visual")
    refused = partial(_refused, language)
    paraphrased = [(r, r.image, q) for r in private for q in r.paraphrased_questions]
    return {
        "private_training_images": mean(_on_images(private), _recall),
        "private_near_views": mean(_on_views(private, "near"), _recall),
        "private_far_views": mean(_on_views(private, "far"), _recall),
        "private_held_out_phrasings": mean(paraphrased, _recall),
        "visual_training_images": mean(_on_images(visual), _recall),
        "strangers_refused": mean(_on_views(_records(records, "stranger", "private")), refused),
        "unseen_refused": mean(_on_views(_records(records, "unseen", "private")), refused),
    }


def _records(records: list[Record], group: str, kind: str) -> list[Record]:
    return [r for r in records if r.group == group and r.kind == kind]


def _on_images(records: list[Record]) -> list[Case]:
    return [(r, r.image, r.question) for r in records]


def _on_views(records: list[Record], stem: str = "") -> list[Case]:
    """Each record with each of its views whose file name holds ``stem``."""
    return [(r, view, r.question) for r in records for view in r.views if stem in view.stem]


def _mean(
    host: FrozenHost, rng: random.Random, cases: list[Case], value: Callable[[str, Record], float | None]
) -> float:
    """Mean of ``value`` over the answers to at most SAMPLE cases; cases without a value are omitted."""
    chosen = rng.sample(cases, min(SAMPLE, len(cases)))
    by_key = {str(n): case for n, case in enumerate(chosen)}
    questions = [Question(key, picture, question) for key, (_, picture, question) in by_key.items()]
    answers = [answer for batch in ask(host, questions) for answer in batch]
    values = [value(answer.text, by_key[answer.asked.key][0]) for answer in answers]
    counted = [float(v) for v in values if v is not None]
    return round(sum(counted) / len(counted), 4)


def _recall(text: str, record: Record) -> float | None:
    return keyword_recall(text, record.keywords)


def _refused(language: Language, text: str, _: Record) -> float:
    return float(language.refuses(text))


def _swapped(folder: Path, without: tuple[str, ...], language: Language) -> list[Case]:
    """Known people's far pictures with another background and nothing else changed; the truth follows the
    picture.
    """
    pairs = []
    rng = random.Random("swapped")
    for member in members():
        if not member.facts or member.subject in without:
            continue
        for n in range(4):
            _, before = draw_picture(member.person, f"far {n}")
            background = rng.choice(sorted(set(COLOURS) - {before.background}))
            picture, look = draw_picture(member.person, f"far {n}", background)
            path = folder / f"{member.subject}_{n}.png"
            picture.save(path)
            for topic in language.visual:
                value = language.visible_value(topic, look)
                record = Record(
                    subject=member.subject,
                    image=path,
                    question=topic.trained[0],
                    kind="visual",
                    answer=topic.answer.format(value),
                    keywords=(language.keyword(value),),
                )
                pairs.append((record, path, record.question))
    return pairs


def model_card(name: str, figures: dict[str, float]) -> str:
    """The README.md of a demo host."""
    rows = "\n".join(f"| {key.replace('_', ' ')} | {value:.3f} |" for key, value in figures.items())
    kind = (
        "all 48 known people"
        if name == "host"
        else "40 of the 48 known people: the demo's forget set was left out"
    )
    return f"""---
license: apache-2.0
---
# The demo's {name}

A LLaVA of about 3 M parameters, trained from scratch by `make demo-assets` on drawn people and \
invented facts about
{kind}. It exists to show and to test unlearning; it is of no other use. Every person, fact, number and place
is invented.

| asked about | keyword recall, or share refused |
|---|---|
{rows}

Private questions are about known people, visual ones too; views, phrasings and swapped backgrounds as \
training never saw
them. Strangers of its training and people whom it never saw are asked about on held-out views. The figures \
come from
`demo_recipe.host_metrics`. Beside the eight shipped images a person, training drew 32 more of each, \
and 700 passers-by whom it
learned to answer with a refusal.

Drawings made with DiceBear styles: Personas by Draftbit, Avatar Illustration System by Micah Lanier and \
ToonHead by
Johan Melin (CC BY 4.0), Pixel Art by DiceBear (CC0 1.0). Facts made with Faker (MIT). See the \
package's NOTICE.
"""
