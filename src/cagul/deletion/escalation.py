"""A short finetune of the encoder, for a person whom it does not cover."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from cagul.config import load_config
from cagul.data.records import Record, Splits
from cagul.deletion.pictures import kept_pictures, opened_pictures
from cagul.deletion.questions import PROBES
from cagul.deletion.store_gate import StoreGate
from cagul.guard.patch import Patch
from cagul.method.encoder import VisualTokenEncoder
from cagul.training.encoder import train_encoder
from cagul.training.gate import covered
from cagul.training.progress import Progress
from cagul.training.token_cache import TokenCache

STEPS, ROUNDS = 60, 3  # of training; rounds end when the request is verified
PERSON = "this person"  # the request's subject in training, whatever the records call it


@dataclass(frozen=True)
class Finetune:
    """A few steps on the person of a request, whose ``pictures`` and records (``own``) these are.

    Earlier requests whose pictures were kept, and those of ``others`` whom the gate knows, are trained to be
    refused again. Over the rest of ``others`` the encoder is held near what it was, for those whose pictures
    are gone.
    """

    store_gate: StoreGate
    token_cache: TokenCache
    request: str
    pictures: Sequence[Path]
    own: Sequence[Record]
    others: Sequence[Record]
    progress: Progress

    def run(self, patch: Patch, seed: int) -> tuple[VisualTokenEncoder, int]:
        """The encoder after a round from the patch's, and how many people were trained to be refused
        again.
        """
        store, key = self.store_gate.store, self.store_gate.key
        enrolled = self.store_gate.enrolled()
        known = set(
            covered(self.store_gate.union(enrolled), patch.threshold, self.token_cache, list(self.others))
        )
        config = load_config(
            patch.config,
            [
                f"training.steps={STEPS}",
                "training.minutes=0",
                "training.others=0",
                f"training.seed={seed}",
            ],
        )
        names = [name for name in enrolled if name != self.request and store.pictures(name)]
        with opened_pictures(store.folder) if names else nullcontext(Path()) as folder:
            earlier = [kept_pictures(store, key, name, folder) for name in names]
            forget = _private_records(PERSON, self.pictures, self.own)
            for number, paths in enumerate(earlier):
                forget += _private_records(f"earlier {number}", paths, [])
            forget += [record for record in self.others if record.subject in known]
            splits = Splits(forget, [record for record in self.others if record.subject not in known])
            people = len(known) + len(earlier)
            encoder, _ = train_encoder(
                self.token_cache,
                splits,
                config,
                patch.layers,
                base=patch.encoder,
                weights={PERSON: max(1, people)},  # half of the refusals are about this person
                progress=self.progress,
            )
        return encoder, people


def _private_records(subject: str, pictures: Sequence[Path], records: Sequence[Record]) -> list[Record]:
    """Private records of one person over all the given pictures; the built-in questions where there are
    none.
    """
    own = [record for record in records if record.kind == "private"] or [
        Record(subject=subject, image=pictures[0], question=question, answer="-") for question in PROBES
    ]
    return [r.model_copy(update={"subject": subject, "image": path}) for r in own for path in pictures]
