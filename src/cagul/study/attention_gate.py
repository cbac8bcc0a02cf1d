"""A second gate on cross-modal attention, after DHCP (arXiv 2411.18659), beside the embedding gate.

DHCP tells hallucinated answers from grounded ones by a small network over the attention that visual tokens
receive, by layer and head. Here it tells forgotten people from others; that it reads the question's rows, and
pools the tokens, is ours.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cagul.config import Config
from cagul.data.pictures import PictureVariant, pictures_by_subject, variants
from cagul.data.records import Record, Splits
from cagul.errors import DataError
from cagul.evaluation.questions import view_kind
from cagul.evaluation.run_folder import Run
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.method.gate import CELLS
from cagul.study.maps import BATCH, in_parts
from cagul.study.pairs import StudySample
from cagul.training.gate import fit_classifier, hold_out_calibration, train_gate
from cagul.training.progress import Progress, silent
from cagul.training.token_cache import TokenCache

STEPS, HIDDEN, RATE, DECAY = 300, 128, 1e-3, 0.05
COPIES = 2  # augmented copies of every training picture
RETAINED = 256  # training pictures of others, at most


class AttentionGate(nn.Module):
    """A small network over attention maps, standardised by those that it is made with; the score is a
    logit.
    """

    def __init__(self, maps: Float[Tensor, "N F"]):
        super().__init__()
        self.mean, self.scale = maps.mean(0), maps.std(0).clamp(min=1e-6)
        self.net = nn.Sequential(nn.Linear(maps.shape[1], HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1))

    def standardised(self, maps: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        return (maps - self.mean) / self.scale

    @torch.no_grad()
    def forward(self, maps: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        return self.net(self.standardised(maps))[:, 0]


def train_attention_gate(
    maps: Float[Tensor, "N F"], forgotten: Bool[Tensor, " N"], seed: int
) -> AttentionGate:
    """A gate that tells maps of pictures of forgotten people from those of others."""
    torch.manual_seed(seed)
    gate = AttentionGate(maps)
    fit_classifier(gate.net, gate.standardised(maps), forgotten, steps=STEPS, rate=RATE, weight_decay=DECAY)
    return gate


def pool(maps: list[Float[Tensor, "L H V"]]) -> Float[Tensor, "B F"]:
    """Log attention by layer, head and cell: tokens averaged in reading order into at most CELLS cells."""
    cells = [F.adaptive_avg_pool1d(m.flatten(0, 1), CELLS) for m in maps]
    return torch.stack(cells).clamp(min=1e-7).log().flatten(1)


@dataclass(frozen=True)
class GatePlan:
    """Who calibrates, which held-out pictures are scored, as (subject, path) by split, and what is asked
    about each picture.
    """

    apart: Splits
    pictures: dict[str, list[tuple[str, Path]]]
    asks: Callable[[Path], str]


def plan_gate(splits: Splits, sample: StudySample) -> GatePlan:
    """What a second gate learns from and is measured on. Opens no picture.

    Raises DataError when people, private questions or held-out pictures of forget or unseen people are too
    few.
    """
    apart = hold_out_calibration(splits, sample.seed)
    pictures = {
        split: _held_out(getattr(apart, split), split, sample)
        for split in ("forget", "retain", "unseen", "calibration")
    }
    for split, remedy in (
        ("forget", 'Give them "views".'),
        ("unseen", 'Give some people the group "unseen".'),
    ):
        if not pictures[split]:
            raise DataError(f"There are no held-out pictures of {split} people.", remedy, "study")
    return GatePlan(apart, pictures, _Questions(splits, sample.seed))


def gate_rows(
    token_cache: TokenCache, splits: Splits, run: Run, config: Config, sample: StudySample, progress: Progress
) -> None:
    """One row a held-out picture of forget, retain, unseen and calibration with the scores of both gates.

    Raises DataError as ``plan_gate`` does.
    """
    plan = plan_gate(splits, sample)
    apart, asks = plan.apart, plan.asks
    wanted = {
        f"gate/{split}/{path}": (split, subject, path)
        for split, pictures in plan.pictures.items()
        for subject, path in pictures
    }
    missing = [key for key in wanted if key not in run.rows.by_key]
    if not missing:
        return
    try:
        embedding = train_gate(token_cache, apart, config)
    except DataError:  # too few people for a metric: the trained classifier then
        embedding = train_gate(
            token_cache,
            apart,
            config.model_copy(update={"gate": config.gate.model_copy(update={"kind": "mlp"})}),
        )
    forgotten = _training(splits.forget, COPIES)
    others = _training(apart.retain, COPIES)
    others = random.Random(f"second gate {sample.seed}").sample(
        others, min(len(others), RETAINED * (1 + COPIES))
    )
    questions = [(shown, asks(shown[0])) for shown in forgotten + others]
    maps = _maps(token_cache, questions, progress, "attention for a second gate")
    gate = train_attention_gate(maps, torch.arange(len(questions)) < len(forgotten), sample.seed)
    for start in range(0, len(missing), BATCH):
        part = missing[start : start + BATCH]
        shown = [(wanted[key][2], 0) for key in part]
        by_attention = gate(_maps(token_cache, [(one, asks(one[0])) for one in shown]))
        with torch.no_grad():
            by_embedding = embedding([tokens.float().cpu() for tokens in token_cache.encode_images(shown)])
        run.rows.append(
            [
                {
                    "key": key,
                    "study": "gate",
                    "split": wanted[key][0],
                    "subject": wanted[key][1],
                    "view": view_kind(wanted[key][2]),
                    "attention": one,
                    "embedding": other,
                    "embedding_gate": embedding.kind,
                }
                for key, one, other in zip(part, by_attention.tolist(), by_embedding.tolist(), strict=True)
            ]
        )
        progress("scoring with two gates", start + len(part), len(missing))


class _Questions:
    """A private question for each picture, drawn by its name, so that no question betrays who is forgotten.

    Raises DataError when there is none.
    """

    def __init__(self, splits: Splits, seed: int):
        self.seed = seed
        private = {r.question for r in splits.forget if r.kind == "private"} & {
            r.question for r in splits.retain
        }
        self.questions = sorted(
            private or {r.question for r in splits.forget + splits.retain if r.kind == "private"}
        )
        if not self.questions:
            raise DataError(
                "No record of forget or retain asks a private question, which the second gate reads.",
                'Give records "kind": "private".',
                "study",
            )

    def __call__(self, path: Path) -> str:
        return random.Random(f"asked {self.seed} {path.name}").choice(self.questions)


def _maps(
    token_cache: TokenCache,
    questions: list[tuple[PictureVariant, str]],
    progress: Progress = silent,
    stage: str = "",
) -> Float[Tensor, "N F"]:
    """Pooled attention of each question about its picture."""
    pooled: list[Tensor] = []
    for maps in in_parts(token_cache, questions, AdaptiveBatch(BATCH)):
        pooled.append(pool(maps))
        progress(stage, sum(map(len, pooled)), len(questions))
    return torch.cat(pooled)


def _training(records: list[Record], copies: int) -> list[PictureVariant]:
    return [one for paths in pictures_by_subject(records).values() for one in variants(paths, copies)]


def _held_out(records: list[Record], split: str, sample: StudySample) -> list[tuple[str, Path]]:
    """Views, on which nothing was trained; images of people whom training did not open, where they have no
    views.
    """
    viewed = list(dict.fromkeys((r.subject, view) for r in records for view in r.views))
    if not viewed and split in ("unseen", "calibration"):
        viewed = list(dict.fromkeys((r.subject, r.image) for r in records))
    rng = random.Random(f"second gate {sample.seed} {split}")
    return viewed if len(viewed) <= sample.gate_pictures else rng.sample(viewed, sample.gate_pictures)
