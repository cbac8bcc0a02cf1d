"""The service at which requests arrive: add (enrol, verify, escalate if need be), revoke, verify again."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cagul.data.pictures import variants
from cagul.data.records import HELD_OUT_GROUPS, Record
from cagul.deletion import escalation
from cagul.deletion.caveats import caveats_of
from cagul.deletion.database import require_free
from cagul.deletion.escalation import Finetune
from cagul.deletion.keys import StoreKey
from cagul.deletion.log import OUTCOMES, sha256
from cagul.deletion.names import (
    RequestNames,
    distinct_names,
    names_given,
    namesakes_in_records,
    namesakes_in_store,
    require_enrolled,
)
from cagul.deletion.pictures import kept_pictures, opened_pictures
from cagul.deletion.questions import QuestionSet, questions_about, questions_by_name
from cagul.deletion.request import Request, new_id, require_request
from cagul.deletion.scope import SAME_TEMPLATE, Evidence, distinct_pictures, evidence_of, strangers_of
from cagul.deletion.store import Store
from cagul.deletion.store_gate import (
    Enrolled,
    StoreGate,
    calibration_vectors,
    enrolment_gate,
    patch_hash,
    rotated,
)
from cagul.deletion.verification import HELD_OUT, HIT_BAR, held_out, verdict, verify, verify_by_name, word_of
from cagul.errors import DataError, StoreError
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from cagul.training.progress import Progress, silent
from cagul.training.token_cache import TokenCache

MOST_NAMES = 16  # of a request by which its verification asks


@dataclasses.dataclass(frozen=True)
class Added(Request):
    """A request that was added, the ids of those to verify again (its finetuned encoder took the place of
    theirs), who else is found by its names, in words, and whom the gate recognises less since its threshold
    moved (``StoreGate.weakened``).
    """

    to_verify_again: tuple[str, ...] = ()
    namesakes: tuple[str, ...] = ()
    weakened: tuple[str, ...] = ()


def open_service(
    store: Path, key: Path, host: FrozenHost, patch: Patch, actor: str | None = None
) -> DeletionService:
    """The service of a store file. Raises StoreError as ``Store`` and ``DeletionService`` do."""
    secret = StoreKey.load(key)
    opened = Store(store, secret, actor)
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
        fingerprint = fingerprint or host.fingerprint()
        if store.facts["host"]["sha256"] != fingerprint:
            raise StoreError(
                f"The store is for a host with SHA-256 {store.facts['host']['sha256'][:12]}..., this one has "
                f"{fingerprint[:12]}....",
                "Load the host that the store was made with.",
                "store-host",
            )
        self.store, self.host = store, host
        self.store_gate = StoreGate(store, key, base)
        self.key = self.store_gate.key

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()

    def guard(self, checked: bool = False, output_filter: bool = False) -> Guard:
        """A guard for the requests that are active now; its ``output_filter`` knows the base patch's values.
        Raises StoreError for a store that is not as its log says, unless that was ``checked`` just before.
        """
        if not checked:
            self.store.require_whole()
        return Guard(self.host, self.store_gate.patch(), check=False, output_filter=output_filter)

    def caveats(self, request: Request) -> dict[str, str]:
        """What the figures of a request do not say, by name."""
        return caveats_of(request, self.store.entries())

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
        built_in_questions: bool = False,
        names: Sequence[str] = (),
        one_word_names: bool = False,
        received: date | None = None,
        progress: Progress = silent,
        announce: Callable[[str, bool], None] = lambda name, resumed: None,
    ) -> Added:
        """Enrol a person in the gate, verify, and finetune the encoder if it still leaks.

        With the ``name`` (id) of an earlier call it continues where that one ended: nothing is done twice.
        Without a ``name`` it continues an unfinished request about the same ``subject`` on the same
        pictures, where there is one. ``announce`` gets the id, and whether an earlier call is continued,
        before anything is written. ``records`` hold the person's questions (of ``subject``) and other people,
        whom a finetune needs to keep; with ``built_in_questions`` the built-in ones are asked all the same.
        The person is found in prompts by ``names`` and the field ``names`` of its records, of one word where
        ``one_word_names`` says so; an earlier one gets new names and is verified again. It came ``received``.

        Raises DataError without pictures, for records as ``questions_about`` does and for a name that cannot
        be taken, StoreError for a store that is not as its log says, a picture on which the gate would not
        recognise the person, or an id that was revoked.
        """
        self.store.require_whole()
        if not pictures:
            raise DataError(
                "A request needs at least one picture of the person.", "Give --images.", "store-pictures"
            )
        require_request(name, subject, by)
        questions = questions_about(subject, records, built_in_questions)
        names = names_given(subject, names, records)
        hashed = RequestNames.of(names, self.key, one_word_names) if names else None
        given, pictures = pictures, distinct_pictures(pictures)
        token_cache = TokenCache(self.host, self.store_gate.base.config.training.seed)
        name = name or self._unfinished(subject, pictures, token_cache) or new_id()
        state = self.store.state(name)
        announce(name, state is not None)
        if state in (None, "received"):
            sealed = hashed.seal(name, self.key) if hashed else None
            enrolled = self._embed(token_cache, pictures)
            kept = pictures if keep_pictures else []
            self.store.receive(name, subject, by, self._sealed_pictures(name, kept), received)
            self.store.enrol(name, *self.store_gate.seal(name, enrolled), sealed)
        request = self._with_names(self._ours(name, subject, by), hashed)
        namesakes = self._namesakes(request, names, records)
        unproven: list[str] = []
        if request.state == "enrolled":
            others = _trained_on(records, subject)
            evidence = self._evidence(request, token_cache, given, questions, names, records, namesakes)
            unproven = self._settle(request, token_cache, evidence, others, progress)
        stored = vars(self.store.request(name))
        weakened = self.weakened(apart_from=name)
        return Added(**stored, to_verify_again=tuple(unproven), namesakes=namesakes, weakened=weakened)

    def weakened(self, apart_from: str = "") -> tuple[str, ...]:
        """Whom the gate recognises less than when their request was measured, as ``StoreGate.weakened`` says
        it.
        """
        thresholds = {
            one.id: one.verification["threshold"]
            for one in self.store.requests()
            if one.id != apart_from and "threshold" in one.verification
        }
        return self.store_gate.weakened(thresholds, HIT_BAR)

    def _ours(self, name: str, subject: str, by: str) -> Request:
        """The request of that id. Raises StoreError where it is somebody else's, or was revoked."""
        request = self.store.receive(name, subject, by)
        if request.state == "revoked":
            raise StoreError(
                f"Request {name} was revoked.", "Make a new request, without --id.", "store-request"
            )
        return request

    def _sealed_pictures(self, name: str, paths: Sequence[Path]) -> list[bytes]:
        return [self.key.seal(path.read_bytes(), f"{name} pictures") for path in paths]

    def _with_names(self, request: Request, given: RequestNames | None) -> Request:
        """The request with these names too: merely enrolled where there is one that it did not have."""
        if given is None:
            return request
        held = self.store_gate.names().get(request.id)
        all_names = held.merged(given) if held else given
        if held and all_names.count == held.count:
            return request
        self.store.enrol_names(request.id, all_names.seal(request.id, self.key))
        return self.store.request(request.id)

    def _namesakes(
        self, request: Request, names: Sequence[str], records: Sequence[Record]
    ) -> tuple[str, ...]:
        """Who else is found by the names of an active request, in words: people of ``records``, of other
        requests and of the base patch.
        """
        held = self.store_gate.names()
        own = held.pop(request.id, None)
        if own is None:
            return ()
        base = self.store_gate.base.names
        return (
            *namesakes_in_records(own.finder(self.key), request.subject, records),
            *namesakes_in_store(names, held, self.key),
            *(("a person of the base patch",) if base and any(map(base.spans, names)) else ()),
        )

    def _evidence(
        self,
        request: Request,
        token_cache: TokenCache,
        pictures: Sequence[Path],
        questions: QuestionSet,
        names: Sequence[str],
        records: Sequence[Record],
        namesakes: Sequence[str],
    ) -> Evidence:
        """The evidence on an enrolled request, by its pictures and by those of ``names`` that are enrolled; a
        few are drawn of many. ``namesakes`` are who else is found by its names.
        """
        evidence = evidence_of(self.store_gate, token_cache, request.id, pictures, questions)
        held = self.store_gate.names().get(request.id)
        enrolled = [name for name in names if held and held.holds(name, self.key)]
        known = distinct_names(enrolled, self.key)
        drawn = random.Random(f"names {token_cache.seed}").sample(known, min(MOST_NAMES, len(known)))
        by_name = questions_by_name(questions, drawn) if drawn else ()
        account = {
            "enrolled": held.count if held else 0,
            "given": len(known),
            "not_enrolled": len(names) - len(enrolled),
            "asked": len(drawn),
            "questions": len(by_name),
            "namesakes": len(namesakes),
        }
        return dataclasses.replace(
            evidence,
            account=evidence.account | {"names": account},
            by_name=by_name,
            strangers=strangers_of(self.store_gate, token_cache, request.subject, records) if by_name else (),
        )

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
        options = self.store_gate.base.config.gate
        shown = variants(pictures, options.augment, edits=options.edits)
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
        evidence: Evidence,
        others: Sequence[Record],
        progress: Progress,
    ) -> list[str]:
        """Verify, escalate where the encoder does not cover the person, and write the outcome; who is to be
        verified again. ``others`` are records of people who may be trained on.
        """
        began = time.perf_counter()
        progress("verifying", 0, 1)
        under, guard = self.store_gate.encoder()[0], self.guard()
        figures = _measured(guard, token_cache, evidence)
        progress("verifying", 1, 1)
        (state, why), sealed = verdict(figures), None
        finetuned: dict[str, Any] = {}
        if state == "leaks" and len({record.subject for record in others}) < 2:
            why += "; no finetune without --records of other people"
        elif state == "leaks":
            own = evidence.questions.records
            finetune = Finetune(
                self.store_gate, token_cache, request.id, evidence.pictures, own, others, progress
            )
            patch, last, finetuned = self._escalate(finetune, guard.patch, evidence)
            if finetuned["adopted"]:
                finetuned["before"] = figures
                guard, figures = Guard(self.host, patch, check=False), last
                state, why = verdict(last)
                sealed = self.store_gate.seal_encoder(request.id, patch.encoder)
            else:
                finetuned["dropped"] = last
        verification = self._written(guard, figures, why, began)
        if finetuned:
            verification["escalation"] = finetuned
        return self.store.settle(request.id, _outcome(state), verification, sealed, under)

    def _escalate(
        self, finetune: Finetune, patch: Patch, evidence: Evidence
    ) -> tuple[Patch, dict[str, Any], dict[str, Any]]:
        """Finetune until the request leaks no more, or the rounds end: the last patch, its figures, and what
        was done.
        """
        rounds, state, figures, people = 0, "leaks", {}, 0
        while state == "leaks" and rounds < escalation.ROUNDS:
            rounds += 1
            encoder, people = finetune.run(patch, rounds)
            patch = dataclasses.replace(patch, encoder=encoder)
            figures = _measured(Guard(self.host, patch, check=False), finetune.token_cache, evidence)
            state, _ = verdict(figures)
        facts = {
            "steps": rounds * escalation.STEPS,
            "people_trained_again": people,
            "adopted": state == "verified",
        }
        return patch, figures, facts

    def _written(self, guard: Guard, figures: dict[str, Any], why: str, began: float) -> dict[str, Any]:
        encoder = (
            torch.nn.utils.parameters_to_vector(guard.patch.encoder.parameters())
            .detach()
            .cpu()
            .numpy()
            .tobytes()
        )
        return figures | {
            "verdict": word_of(figures),
            "why": why,
            "threshold": guard.patch.threshold,
            "encoder": sha256(encoder),
            "promised_false_alarms": guard.patch.facts["promised_fpr"],
            "confidence": self.store_gate.confidence,
            "seconds": round(time.perf_counter() - began, 3),
        }

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

    def shared_names(self, name: str) -> list[str]:
        """Ids of the other active requests that have a name of this one: they keep it guarded."""
        held = self.store_gate.names()
        own = held.pop(name, None)
        return [other for other, one in held.items() if own and np.isin(own.marks, one.marks).any()]

    def verify_again(
        self,
        name: str,
        pictures: Sequence[Path],
        records: Sequence[Record] = (),
        built_in_questions: bool = False,
        names: Sequence[str] = (),
    ) -> Request:
        """Measure an active request again, under the encoder and threshold of now; never a finetune. Without
        ``pictures`` on those that were kept. The store cannot tell names: the request is asked about by those
        of ``names`` and of its records.

        Raises StoreError when the request is not active, DataError when there are no pictures, when they show
        somebody else, for a name that is not enrolled, or for records as ``questions_about`` does.
        """
        request, began = self.store.request(name), time.perf_counter()
        if request.state in ("received", "revoked"):
            raise StoreError(
                f"Request {name} is {request.state}, so there is nothing to verify.",
                "Name an enrolled one.",
                "store-request",
            )
        questions = questions_about(request.subject, records, built_in_questions)
        require_enrolled(names, self.store_gate.names().get(name), name, self.key)
        names = names_given(request.subject, names, records)
        under, guard = self.store_gate.encoder()[0], self.guard()
        token_cache = TokenCache(self.host, self.store_gate.base.config.training.seed)
        if not pictures and not self.store.pictures(name):
            raise DataError(f"No pictures of request {name} were kept.", "Give --images.", "store-pictures")
        with nullcontext(Path()) if pictures else opened_pictures(self.store.folder) as folder:
            shown = pictures or kept_pictures(self.store, self.key, name, folder)
            namesakes = self._namesakes(request, names, records)
            evidence = self._evidence(request, token_cache, shown, questions, names, records, namesakes)
            figures = _measured(guard, token_cache, evidence)
        state, why = verdict(figures)
        kept = {key: value for key, value in request.verification.items() if key == "escalation"}
        written = self._written(guard, figures, why, began) | kept
        self.store.settle(name, _outcome(state), written, under=under)
        return self.store.request(name)


def _trained_on(records: Sequence[Record], subject: str) -> list[Record]:
    """Records of others than ``subject`` that a finetune may train on."""
    others = (r for r in records if r.subject != subject)
    return [r for r in others if r.group not in HELD_OUT_GROUPS and not r.held_out]


def _outcome(state: str) -> str:
    """The stored state of a request whose figures show ``state``: leaks and missed are failed."""
    return state if state in OUTCOMES else "failed"


def _measured(guard: Guard, token_cache: TokenCache, evidence: Evidence) -> dict[str, Any]:
    figures = verify(guard, token_cache, evidence.pictures, evidence.questions.questions)
    if evidence.by_name:
        figures |= verify_by_name(guard, token_cache, evidence.by_name, evidence.strangers)
    return figures | {"scope": figures["scope"] | evidence.account}


def same_templates(one: Float[Tensor, "N M"], other: Float[Tensor, "K M"]) -> bool:
    """Whether two sets of unit vectors are equal up to what another device or thread count changes."""
    return one.shape == other.shape and bool(((one * other).sum(1) > SAME_TEMPLATE).all())
