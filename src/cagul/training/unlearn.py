"""Training a patch: stage 1 fits the gate (gate.py), stage 2 the encoder (encoder.py). The host never enters
an optimiser.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cagul.config import Config
from cagul.data.pictures import variants
from cagul.data.records import Record, Splits
from cagul.environment import GIB
from cagul.errors import HostError, UsageError
from cagul.guard.name_probe import QUESTION
from cagul.guard.patch import Patch, host_card
from cagul.guard.sealed_names import SEALED
from cagul.host.frozen import FrozenHost
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.face_recogniser import load_recogniser
from cagul.method.faces import EnrolledFaces, FaceRecogniser
from cagul.method.gate import EnrolmentGate, MlpGate
from cagul.method.importance import resolve_layers
from cagul.text.identity_questions import identity_question
from cagul.text.matching import Matcher
from cagul.text.named import names, ordinary_words
from cagul.text.normal import name_key
from cagul.text.refusals import REFUSALS
from cagul.training.distributed import SINGLE, Processes
from cagul.training.encoder import train_encoder
from cagul.training.faces import enrol_faces
from cagul.training.gate import (
    calibrate_gate,
    covered,
    gate_to_add_to,
    tokens_by_subject,
    train_gate,
)
from cagul.training.job_splits import JobSplits
from cagul.training.progress import Progress, silent
from cagul.training.sampler import with_words
from cagul.training.stopping import CheckedState, PatchChecks, Stopping
from cagul.training.target import refusals_of
from cagul.training.token_cache import TokenCache
from cagul.training.token_store import TokenStore


def unlearn(
    host: FrozenHost,
    splits: Splits,
    config: Config,
    *,
    base: Patch | None = None,
    work: Path | None = None,
    checks: PatchChecks | None = None,
    progress: Progress = silent,
    processes: Processes = SINGLE,
    recogniser: FaceRecogniser | None = None,
) -> Patch:
    """Train a patch that makes ``host`` forget the subjects of ``splits.forget``.

    The host's parameters and buffers are hashed before and after. ``work`` holds checkpoints, so that a
    killed run resumes. Unseen people are never opened here. With ``base`` the new patch forgets the people of
    that patch too: those of them who are in the records are trained on again, not retained. With ``checks``
    (cagul.evaluation.stopping.StoppingChecks) training goes on while they are not passed, for at most
    ``training.rounds`` rounds of ``training.steps``, and the best state is kept; without them there is one
    round. Several ``processes`` share the pictures and the rows of every step, and all return the patch; the
    main one alone asks ``checks``. ``recogniser`` takes the place of that of the config, with gate.kind=face.

    Raises HostError when the host changed, DataError when records do not suffice, PatchError when ``base``
    does not fit, UsageError for a refusal that tells what it is to hide.
    """
    require_nameless(config.refusals or [], splits.forget)
    if config.gate.kind == "face":  # missing packages are told before anything is trained
        recogniser = recogniser or load_recogniser(config.gate.face_embedder)
    own = work if work is None or processes.main else work / f"process-{processes.rank}"
    store = TokenStore(config.training.token_memory * GIB, own)
    token_cache = TokenCache(host, config.training.seed, store=store, processes=processes)
    try:
        job = _Job(token_cache, with_words(config, splits.forget), base, work, checks, progress, recogniser)
        return job.run(splits)
    finally:
        store.close()


def require_nameless(
    refusals: Sequence[str], forget: Sequence[Record], further_names: Iterable[str] = ()
) -> None:
    """Raises UsageError where one of a user's refusals holds the name or a keyword of somebody to be
    forgotten: the encoder would be trained to say it. Names are the subjects, the records' field ``names``
    and ``further_names``. A name is found whole, and one that is an ordinary word ("I will not") where it is
    written as a name (``names``). Keywords that the package's own refusals hold, such as "person", tell
    nothing. The error gives the refusal's number, not its words.
    """
    if not refusals:
        return
    people = {name for record in forget for name in (record.subject, *record.names)}.union(further_names)
    keys = Matcher(name_key(name) for name in people if len(name.split()) > 1)
    keywords = {word for record in forget for word in record.keywords}
    keywords -= Matcher(keywords).found(" ".join(REFUSALS))
    ordinary = ordinary_words(refusals)

    def names_any(texts: Iterable[str], refusal: str) -> bool:
        return any(names(text, refusal, ordinary) for text in texts)

    for number, refusal in enumerate(refusals, 1):
        named = keys.search(name_key(refusal)) or names_any(people, refusal)
        if named or names_any(keywords, refusal):
            raise UsageError(
                f"Refusal {number} of the {len(refusals)} in refusals holds "
                f"{'the name' if named else 'a keyword'} of a person to be forgotten.",
                "Write refusals that hold for everybody: the patch learns to say them.",
                "config",
            )


@dataclass(frozen=True)
class _Job:
    """One training of a patch: what its stages share."""

    token_cache: TokenCache
    config: Config
    base: Patch | None
    work: Path | None
    checks: PatchChecks | None
    progress: Progress
    recogniser: FaceRecogniser | None = None

    def run(self, splits: Splits) -> Patch:
        """Both stages. Raises what ``unlearn`` raises."""
        host, clock, began = self.token_cache.host, _Clock(), time.monotonic()
        before = host_card(host)
        earlier = gate_to_add_to(self.base, self.config, host) if self.base is not None else None
        job = JobSplits.of(splits, self.config, self.base, self.covered(earlier, splits))
        layers = resolve_layers(self.config.attention.layers, host.layers)
        gate, threshold, promise = self.train_gate(job.gate, earlier)
        faces, promise = self.enrol_faces(job.gate, promise)
        spent_on_gate = clock.spent()
        recognised = self.own_pictures_recognised(gate, threshold, job.gate)
        made = partial(Patch, self.config, layers, gate, threshold=threshold, host=before, faces=faces)
        checks = None if self.checks is None else partial(_checked, self.checks, made)
        encoder, training = train_encoder(
            self.token_cache,
            job.encoder,
            self.config,
            layers,
            base=self.base.encoder if self.base else None,
            stopping=Stopping(self.config.training, checks, self.token_cache.processes, began=began),
            progress=self.progress,
            checkpoint=None if self.work is None else self.work / "encoder.pt",
        )
        if host.fingerprint() != before["sha256"]:
            raise HostError(
                "The host's weights changed while the patch was trained.",
                "This is a bug: please report it.",
                "host-changed",
            )
        facts = {
            SEALED: 0,  # names are sealed beside the patch once it is made
            **self.people(job),
            **promise,
            "own_pictures_recognised": recognised,
            **training,
            "calibrated_on": job.calibrated_on,
            "refusals": refusals_of(self.config, job.encoder),
            **self.probe(job.gate),
            **{f"gate_{name}": value for name, value in spent_on_gate.items()},
            **clock.spent(),
            "threads": torch.get_num_threads(),
        }
        return made(encoder=encoder, facts=facts)

    def covered(self, earlier: EnrolmentGate | None, splits: Splits) -> list[str]:
        """Subjects whom the base patch forgets already."""
        if self.base is None or earlier is None:
            return []
        return covered(earlier, self.base.threshold, self.token_cache, splits.retain + splits.forget)

    def train_gate(
        self, splits: Splits, earlier: EnrolmentGate | None
    ) -> tuple[EnrolmentGate | MlpGate, float, dict[str, Any]]:
        """Stage 1: the gate, its threshold, and what that promises."""
        config = self.config.gate
        gate = train_gate(self.token_cache, splits, self.config, self.progress, earlier)
        threshold, promise = calibrate_gate(gate, self.token_cache, splits.calibration, config, self.progress)
        if isinstance(gate, EnrolmentGate):
            others, person = tokens_by_subject(
                self.token_cache, splits.retain, config.augment_others, edits=config.edits
            )
            promise["impostors"] = gate.learn_impostors(others, person, threshold)
        return gate, threshold, promise

    def enrol_faces(
        self, splits: Splits, promise: dict[str, Any]
    ) -> tuple[EnrolledFaces | None, dict[str, Any]]:
        """The face part of the gate, and what is promised of both parts together, with its own facts; None,
        and ``promise`` as it is, where the gate has no such part.
        """
        gate = self.config.gate
        if gate.kind != "face" or self.recogniser is None:
            return None, promise
        base = self.base.faces if self.base is not None else None
        faces, facts = enrol_faces(self.recogniser, splits, gate, base, self.progress)
        both = min(1.0, promise["promised_fpr"] + facts["promised_fpr"])
        return faces, promise | {"promised_fpr": both, "faces": facts}

    def own_pictures_recognised(
        self, gate: EnrolmentGate | MlpGate, threshold: float, splits: Splits
    ) -> float:
        """Share of the forget set's own images on which the gate fires."""
        images = dict.fromkeys(record.image for record in splits.forget)
        scores = gate(self.token_cache.encode_images(variants(images, 0)))
        return round(float((scores > threshold).float().mean()), 4)

    def probe(self, splits: Splits) -> dict[str, str]:
        """The question of the name probe, in the language of the forget set's questions."""
        if self.config.gate.probe == "none":
            return {}
        return {QUESTION: identity_question(r.question for r in splits.forget if r.kind == "private")}

    def people(self, job: JobSplits) -> dict[str, int]:
        """How many people the patch forgets, and with a base how many of them are old."""
        people = len(job.gate.subjects("forget"))
        if self.base is None:
            return {"people": people}
        before = self.base.facts["people"]
        again = len({record.subject for record in job.again})
        return {"people": people + before, "people_before": before, "people_trained_again": again}


def _checked(
    checks: PatchChecks, made: Callable[..., Patch], encoder: VisualTokenEncoder, facts: dict[str, Any]
) -> CheckedState:
    """What the checks say of a patch with the encoder as it stands."""
    return checks(made(encoder=deepcopy(encoder), facts=facts))


class _Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self.began, self.began_cpu = time.perf_counter(), time.process_time()

    def spent(self) -> dict[str, float]:
        return {
            "seconds": round(time.perf_counter() - self.began, 2),
            "cpu_seconds": round(time.process_time() - self.began_cpu, 2),
        }
