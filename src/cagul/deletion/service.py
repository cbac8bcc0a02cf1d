"""The service at which requests arrive: add (enrol, verify, escalate if need be), revoke, verify again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from cagul.config import load_config
from cagul.data.pictures import variants
from cagul.data.records import HELD_OUT_GROUPS, Record, Splits
from cagul.deletion.database import require_free
from cagul.deletion.keys import StoreKey
from cagul.deletion.log import sha256
from cagul.deletion.pictures import opened_pictures, write_picture
from cagul.deletion.store import Request, Store, new_id
from cagul.deletion.store_gate import (
    Enrolled,
    StoreGate,
    calibration_vectors,
    enrolment_gate,
    patch_hash,
    rotated,
)
from cagul.deletion.verification import HELD_OUT, PROBES, held_out, probes_of, verdict, verify
from cagul.errors import DataError, StoreError
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.method.encoder import VisualTokenEncoder
from cagul.training.encoder import train_encoder
from cagul.training.gate import covered
from cagul.training.progress import Progress, silent
from cagul.training.token_cache import TokenCache

SAME_TEMPLATE = 0.9999  # cosine similarity of a picture's template to itself, taken again
ESCALATION_STEPS, ESCALATION_ROUNDS = 60, 3  # of training; rounds end when the request is verified


@dataclasses.dataclass(frozen=True)
class Added(Request):
    """A request that was added, and the ids of those to verify again: its finetuned encoder took the place of
    theirs.
    """

    to_verify_again: tuple[str, ...] = ()


def open_service(store: Path, key: Path, host: FrozenHost, patch: Patch) -> DeletionService:
    """The service of a store file. Raises StoreError as ``Store`` and ``DeletionService`` do."""
    secret = StoreKey.load(key)
    opened = Store(store, secret)
    try:
        return DeletionService(opened, secret, host, patch)
    except BaseException:
        opened.close()
        raise


def make_store(
    path: Path,
    key: Path,
    host: FrozenHost,
    patch: Patch,
    calibration: list[Record],
    places: dict[str, str],
    progress: Progress = silent,
    confidence: float | None = None,
) -> Store:
    """A new store for this host and base patch; the key file is made if there is none.

    ``places`` are kept for later commands: where host and patch were. ``confidence`` is that of the
    false-alarm budget (see ``calibrate``), the patch's ``gate.confidence`` if not given. Raises PatchError
    when the patch is not of this host, DataError without calibration people, StoreError when there is a store
    already.
    """
    patch.require(host)
    require_free(path)
    enrolment_gate(patch)  # raises before any file is made
    token_cache = TokenCache(host, patch.config.training.seed)
    secret = StoreKey.create(key)
    people, vectors = calibration_vectors(rotated(patch, secret), token_cache, calibration, progress)
    confidence = patch.config.gate.confidence if confidence is None else confidence
    facts = {"host": patch.host, "patch": patch_hash(patch), "places": places, "confidence": confidence}
    return Store.create(path, secret, facts, people, secret.seal_tensor(vectors, "calibration"))


class DeletionService:
    """A store at work with its host and base patch. ``fingerprint`` is the host's, taken now if not given.
    ``close`` it, or use it in a ``with``: that closes the store.

    Raises StoreError for a store of another host or patch, or whose facts were changed.
    """

    def __init__(
        self, store: Store, key: StoreKey, host: FrozenHost, base: Patch, fingerprint: str | None = None
    ):
        store.require_facts()
        found = fingerprint or host.fingerprint()
        if store.facts["host"]["sha256"] != found:
            raise StoreError(
                f"The store is for a host with SHA-256 {store.facts['host']['sha256'][:12]}..., this one has "
                f"{found[:12]}....",
                "Load the host that the store was made with.",
                "store-host",
            )
        self.store, self.key, self.host = store, key, host
        self.store_gate = StoreGate(store, key, base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()

    def guard(self, checked: bool = False) -> Guard:
        """A guard for the requests that are active now. Raises StoreError for a store that is not as its log
        says, unless that was ``checked`` just before.
        """
        if not checked:
            self.store.require_whole()
        return Guard(self.host, self.store_gate.patch(), check=False)

    # -- add

    def add(
        self,
        subject: str,
        pictures: Sequence[Path],
        *,
        by: str = "",
        name: str | None = None,
        keep_pictures: bool = False,
        records: Sequence[Record] = (),
        progress: Progress = silent,
        announce: Callable[[str, bool], None] = lambda name, resumed: None,
    ) -> Added:
        """Enrol a person in the gate, verify, and finetune the encoder if it still leaks.

        With the ``name`` (id) of an earlier call it continues where that one ended: nothing is done twice.
        Without a ``name`` it continues an unfinished request about the same ``subject`` on the same
        pictures, where there is one. ``announce`` gets the id, and whether an earlier call is continued,
        before anything is written. ``records`` may hold the person's questions (of ``subject``) and other
        people, whom a finetune needs to keep.

        Raises DataError without pictures, StoreError for a store that is not as its log says, a picture on
        which the gate would not recognise the person, or an id that was revoked.
        """
        self.store.require_whole()
        if not pictures:
            raise DataError(
                "A request needs at least one picture of the person.", "Give --images.", "store-pictures"
            )
        token_cache = TokenCache(self.host, self.store_gate.base.config.training.seed)
        name = name or self._unfinished(subject, pictures, token_cache) or new_id()
        state = self.store.state(name)
        announce(name, state is not None)
        if state in (None, "received"):
            enrolled = self._embed(token_cache, pictures)
            kept = (
                [self.key.seal(path.read_bytes(), f"{name} pictures") for path in pictures]
                if keep_pictures
                else []
            )
            self.store.receive(name, subject, by, kept)
            self.store.enrol(name, *self.store_gate.seal(name, enrolled))
        request = self.store.receive(name, subject, by)
        if request.state == "revoked":
            raise StoreError(
                f"Request {name} was revoked.", "Make a new request, without --id.", "store-request"
            )
        unproven: list[str] = []
        if request.state == "enrolled":
            own = [r for r in records if r.subject == subject]
            unproven = self._settle(request, token_cache, pictures, own, records, progress)
        return Added(**vars(self.store.request(name)), to_verify_again=tuple(unproven))

    def _unfinished(self, subject: str, pictures: Sequence[Path], token_cache: TokenCache) -> str | None:
        """The id of a request about ``subject`` that has these pictures and waits for its verification.

        The templates tell whether the pictures are the same: nothing else is kept of them. A request that was
        interrupted before its enrolment is found by its kept pictures, if there are any.
        """
        waiting = [one for one in self.store.requests() if one.subject == subject]
        enrolled = self.store_gate.enrolled() if waiting else {}
        for one in waiting:
            if one.state == "received":
                kept = [self.key.open(data, f"{one.id} pictures") for data in self.store.pictures(one.id)]
                given = [path.read_bytes() for path in pictures if path.is_file()]
                if kept and kept == given:
                    return one.id
            elif one.state == "enrolled" and one.id in enrolled:
                if same_templates(enrolled[one.id].vectors, self._templates(token_cache, pictures)):
                    return one.id
        return None

    def _templates(self, token_cache: TokenCache, pictures: Sequence[Path]) -> Float[Tensor, "N M"]:
        """The pictures and their augmented copies in the store's metric space."""
        shown = variants(pictures, self.store_gate.base.config.gate.augment)
        return self.store_gate.gate.embed([t.float().cpu() for t in token_cache.encode_images(shown)])

    def _embed(self, token_cache: TokenCache, pictures: Sequence[Path]) -> Enrolled:
        """Templates of the pictures and their augmented copies.

        Raises StoreError that names a picture whose other copies would not fire the gate.
        """
        copies = self.store_gate.base.config.gate.augment
        vectors = self._templates(token_cache, pictures)
        enrolled = Enrolled(vectors, self.store_gate.best(vectors))
        union = self.store_gate.enrolled() | {"": enrolled}
        threshold, _ = self.store_gate.threshold(union)
        tokens = [t.float().cpu() for t in token_cache.encode_images(held_out(pictures, copies))]
        scores = self.store_gate.union(union)(tokens).reshape(len(pictures), HELD_OUT + 1)
        for number, (path, best) in enumerate(zip(pictures, scores[:, 1:].amax(1).tolist(), strict=True), 1):
            if best <= threshold:
                raise StoreError(
                    f"Picture {number} of {len(pictures)} ({path.name}): the gate does not recognise it in "
                    f"its own copies, best score {best:.3f} against {threshold:.3f}.",
                    "Leave it out, or give one that shows the person clearly.",
                    "store-pictures",
                )
        return enrolled

    def _settle(
        self,
        request: Request,
        token_cache: TokenCache,
        pictures: Sequence[Path],
        own: Sequence[Record],
        records: Sequence[Record],
        progress: Progress,
    ) -> list[str]:
        """Verify, escalate where the encoder does not cover the person, and write the outcome; who is to be
        verified again.
        """
        probes, began = probes_of(own), time.perf_counter()
        progress("verifying", 0, 1)
        under, guard = self.store_gate.encoder()[0], self.guard()
        figures = verify(guard, token_cache, pictures, probes)
        progress("verifying", 1, 1)
        (found, why), sealed, escalation = verdict(figures), None, {}
        others = [r for r in records if r.subject != request.subject and r.group not in HELD_OUT_GROUPS]
        if found == "leaks" and len({r.subject for r in others}) < 2:
            why += "; no finetune without --records of other people"
        elif found == "leaks":
            patch, rounds = guard.patch, 0
            while found == "leaks" and rounds < ESCALATION_ROUNDS:
                rounds += 1
                encoder, again = self._finetune(
                    request, patch, token_cache, pictures, own, others, rounds, progress
                )
                patch = dataclasses.replace(patch, encoder=encoder)
                tried = verify(Guard(self.host, patch, check=False), token_cache, pictures, probes)
                found, reason = verdict(tried)
            adopted = found == "verified"
            escalation = {
                "escalation": {
                    "steps": rounds * ESCALATION_STEPS,
                    "people_trained_again": again,
                    "adopted": adopted,
                    **({"before": figures} if adopted else {"dropped": tried}),
                }
            }
            if adopted:
                guard, figures, why = Guard(self.host, patch, check=False), tried, reason
                sealed = self.store_gate.seal_encoder(request.id, encoder)
        verification = self._written(guard, figures, why, began) | escalation
        state = "verified" if found == "verified" else "failed"
        return self.store.settle(request.id, state, verification, sealed, under)

    def _written(self, guard: Guard, figures: dict[str, Any], why: str, began: float) -> dict[str, Any]:
        encoder = (
            torch.nn.utils.parameters_to_vector(guard.patch.encoder.parameters())
            .detach()
            .cpu()
            .numpy()
            .tobytes()
        )
        return figures | {
            "why": why,
            "threshold": guard.patch.threshold,
            "encoder": sha256(encoder),
            "promised_false_alarms": guard.patch.facts["promised_fpr"],
            "confidence": self.store_gate.confidence,
            "seconds": round(time.perf_counter() - began, 3),
        }

    def _finetune(
        self,
        request: Request,
        patch: Patch,
        token_cache: TokenCache,
        pictures: Sequence[Path],
        own: Sequence[Record],
        others: Sequence[Record],
        seed: int,
        progress: Progress,
    ) -> tuple[VisualTokenEncoder, int]:
        """A few steps on this person from the patch's encoder. Earlier requests whose pictures were kept, and
        those of ``others`` whom the gate knows, are trained to be refused again; how many people they are.
        Over the rest of ``others`` the encoder is held near what it was, for those whose pictures are gone.
        """
        gate = self.store_gate.union(self.store_gate.enrolled())
        known = set(covered(gate, patch.threshold, token_cache, list(others)))
        config = load_config(
            patch.config, [f"training.steps={ESCALATION_STEPS}", "training.others=0", f"training.seed={seed}"]
        )
        names = [
            name for name in self.store_gate.enrolled() if name != request.id and self.store.pictures(name)
        ]
        with opened_pictures(self.store.folder) if names else nullcontext(Path()) as folder:
            earlier = [paths for paths in (self._kept(name, folder) for name in names) if paths]
            again = [
                r for number, paths in enumerate(earlier) for r in _asked(f"earlier {number}", paths, [])
            ]
            copies = range(max(1, len(earlier) + len(known)))  # half of the refusals are about this person
            forget = [r for n in copies for r in _asked(f"this person {n}", pictures, own)]
            forget += [*again, *(r for r in others if r.subject in known)]
            splits = Splits(forget, [r for r in others if r.subject not in known])
            encoder, _ = train_encoder(
                token_cache, splits, config, patch.layers, base=patch.encoder, progress=progress
            )
        return encoder, len(known) + len(earlier)

    def _kept(self, name: str, folder: Path) -> list[Path]:
        """The kept pictures of a request, opened into ``folder``."""
        paths = []
        for number, sealed in enumerate(self.store.pictures(name)):
            paths.append(folder / f"{name}_{number}")
            write_picture(paths[-1], self.key.open(sealed, f"{name} pictures"))
        return paths

    # -- revoke and verify again

    def revoke(self, name: str) -> tuple[int, list[str]]:
        """Take a request back and erase it. On how many of its templates the gate still fires, for other
        people's sake, and which requests lost the encoder that they were verified under: verify these again.

        Raises StoreError for an unknown id or one that is revoked already.
        """
        before = self.store_gate.enrolled().get(name)
        unproven = self.store.revoke(name)
        if before is None:
            return 0, unproven
        left = self.store_gate.enrolled()
        scores = self.store_gate.union(left).compare(before.vectors)
        return int((scores > self.store_gate.threshold(left)[0]).sum()), unproven

    def verify_again(self, name: str, pictures: Sequence[Path], records: Sequence[Record] = ()) -> Request:
        """Measure an active request anew, under the encoder and threshold of now; never a finetune. Without
        ``pictures`` on those that were kept.

        Raises StoreError when the request is not active, DataError when there are no pictures.
        """
        request, began = self.store.request(name), time.perf_counter()
        if request.state in ("received", "revoked"):
            raise StoreError(
                f"Request {name} is {request.state}, so there is nothing to verify.",
                "Name an enrolled one.",
                "store-request",
            )
        under, guard = self.store_gate.encoder()[0], self.guard()
        token_cache = TokenCache(self.host, self.store_gate.base.config.training.seed)
        probes = probes_of([r for r in records if r.subject == request.subject])
        if pictures:
            figures = verify(guard, token_cache, pictures, probes)
        elif self.store.pictures(name):
            with opened_pictures(self.store.folder) as folder:
                figures = verify(guard, token_cache, self._kept(name, folder), probes)
        else:
            raise DataError(f"No pictures of request {name} were kept.", "Give --images.", "store-pictures")
        found, why = verdict(figures)
        kept = {key: value for key, value in request.verification.items() if key == "escalation"}
        written = self._written(guard, figures, why, began) | kept
        self.store.settle(name, "verified" if found == "verified" else "failed", written, under=under)
        return self.store.request(name)


def same_templates(one: Float[Tensor, "N M"], other: Float[Tensor, "K M"]) -> bool:
    """Whether two sets of unit vectors are equal up to what another device or thread count changes."""
    return one.shape == other.shape and bool(((one * other).sum(1) > SAME_TEMPLATE).all())


def _asked(subject: str, pictures: Sequence[Path], records: Sequence[Record]) -> list[Record]:
    """Private records of one person over all the given pictures; the built-in questions where there are
    none.
    """
    own = [r for r in records if r.kind == "private"]
    own = own or [
        Record(subject=subject, image=pictures[0], question=question, answer="-") for question in PROBES
    ]
    return [r.model_copy(update={"subject": subject, "image": path}) for r in own for path in pictures]
