"""The gate that a store makes: the base patch's metric, the templates of active requests, and a threshold
that keeps the false-alarm budget.

The gate depends on the set of active requests alone, not on the order in which they came: templates stand in
order of the requests' ids, and the best similarity of a calibration picture is a maximum over requests, which
has no order. More templates give strangers more chances to look like one of them, so the threshold is taken
again over the union at every change: the quantile at which `calibrate` promises the base patch's false-alarm
rate, with the store's own confidence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cagul.data.records import Record
from cagul.deletion.keys import StoreKey
from cagul.deletion.log import sha256
from cagul.deletion.names import RequestNames, names_secret
from cagul.deletion.store import Store
from cagul.deletion.tables import names_text
from cagul.errors import DataError, StoreError
from cagul.guard.names import NameGate
from cagul.guard.patch import Patch
from cagul.method.calibration import calibrate
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.gate import EnrolmentGate
from cagul.text.name_finder import NameFinder
from cagul.text.person_names import NameHashes
from cagul.training.progress import Progress, silent
from cagul.training.token_cache import TokenCache


@dataclass(frozen=True)
class Enrolled:
    """What the gate keeps of a request: rotated templates (N, M) and each calibration picture's best
    similarity (C,).
    """

    vectors: Float[Tensor, "N M"]
    best: Float[Tensor, " C"]


def patch_hash(patch: Patch) -> str:
    """SHA-256 over a patch's tensors, options, host and threshold."""
    return known_patch_hashes(patch)[0]


def known_patch_hashes(patch: Patch) -> tuple[str, str]:
    """The hashes under which a store may know a patch: today's, and that of patch format 1."""
    tensors = patch.digest()
    today, format_1 = (
        hashlib.sha256(json.dumps([tensors, described], sort_keys=True).encode()).hexdigest()
        for described in (patch.identity(), patch.describe_in_format_1())
    )
    return today, format_1


def rotated(patch: Patch, key: StoreKey) -> EnrolmentGate:
    """The patch's gate in the key's rotation: the same scores, up to rounding. Raises StoreError as
    ``enrolment_gate`` does.
    """
    gate = enrolment_gate(patch)
    turn = key.rotation(gate.projection.shape[1])
    return EnrolmentGate(
        gate.mean.cpu(),
        gate.projection.cpu() @ turn,
        gate.templates.cpu() @ turn,
        gate.owner.cpu(),
        gate.impostors.cpu() @ turn,
        pool=gate.pool,
    )


def enrolment_gate(patch: Patch) -> EnrolmentGate:
    """The patch's gate. Raises StoreError for one that is no enrolment gate, or has faces."""
    gate = patch.gate
    if patch.faces is not None:
        raise StoreError(
            f"The patch has {len(patch.faces.templates)} face templates beside its gate (gate.kind=face), "
            "and a store enrols nobody's face yet: people who are added would be known to the gate alone.",
            "Train a base patch with gate.kind=enrolment, or make a new patch with all people in --forget.",
            "store-patch",
        )
    if not isinstance(gate, EnrolmentGate):
        raise StoreError(
            f"The patch has an {patch.config.gate.kind} gate, a classifier of the people it was trained on; "
            "nobody can be enrolled.",
            "Train a base patch with gate.kind=enrolment.",
            "store-patch",
        )
    return gate


@torch.no_grad()
def calibration_vectors(
    gate: EnrolmentGate, token_cache: TokenCache, records: list[Record], progress: Progress = silent
) -> tuple[list[int], Tensor]:
    """Number of the person and rotated vector of every image and view of the records of group "calibration".

    Raises DataError when no record has that group.
    """
    owners = {path: r.subject for r in records if r.group == "calibration" for path in (r.image, *r.views)}
    if not owners:
        raise DataError(
            'No record has the group "calibration".',
            "Give records of people whom the host does not know, with that group.",
            "calibration",
        )
    names = sorted(set(owners.values()))
    vectors = gate.embed(
        [
            t.float().cpu()
            for t in token_cache.encode_images([(path, 0) for path in owners], progress, "calibrating")
        ]
    )
    return [names.index(name) for name in owners.values()], vectors


class StoreGate:
    """Makes the patch of a store; what was opened once is kept, so that the next change costs little.

    Raises StoreError for a store of another patch, a changed store or a gate that cannot enrol.
    """

    def __init__(self, store: Store, key: StoreKey, base: Patch):
        store.require_facts()
        hashes = known_patch_hashes(base)
        if store.facts["patch"] not in hashes:
            raise StoreError(
                f"The store is for a patch with SHA-256 {store.facts['patch'][:12]}..., this one has "
                f"{hashes[0][:12]}....",
                "Give the patch that it was made with.",
                "store-patch",
            )
        key = store.key or key  # as the store opened it: with the secret of its names
        self.store, self.key, self.base = store, key, base
        self.gate = rotated(base, key)
        people, sealed = store.calibration()
        self.people = torch.tensor(people)
        self.calibration = key.open_tensor(sealed, "calibration", self.gate.projection.shape[1])
        self.confidence: float = store.facts["confidence"]
        self._base_best = self.best(self.gate.templates)
        # by id and SHA-256 of what is sealed, as is the encoder
        self._opened: dict[tuple[str, str], Enrolled] = {}
        self._encoder: tuple[tuple[str, str | None], VisualTokenEncoder] | None = None
        self._names: dict[tuple[str, str | None], RequestNames] = {}
        self._name_gate: tuple[tuple[tuple[str, str | None], ...], NameGate | None] = ((), base.names)

    @torch.no_grad()
    def best(self, vectors: Float[Tensor, "N M"]) -> Float[Tensor, " C"]:
        """Each calibration picture's best similarity to these templates."""
        return (self.calibration @ vectors.T).amax(1)

    def seal(self, name: str, enrolled: Enrolled) -> tuple[bytes, bytes]:
        return self.key.seal_tensor(enrolled.vectors, f"{name} templates"), self.key.seal_tensor(
            enrolled.best, f"{name} best"
        )

    def enrolled(self) -> dict[str, Enrolled]:
        """All active requests, in order of their ids."""
        marks, unknown = self.store.enrolled(self._opened)
        width, opened = self.gate.projection.shape[1], {}
        for mark in marks:
            name = mark[0]
            if name in unknown:
                vectors, best = unknown[name]
                opened[mark] = Enrolled(
                    self.key.open_tensor(vectors, f"{name} templates", width),
                    self.key.open_tensor(best, f"{name} best"),
                )
            else:
                opened[mark] = self._opened[mark]
        self._opened = opened
        return {name: one for (name, _), one in opened.items()}

    def threshold(self, enrolled: dict[str, Enrolled]) -> tuple[float, float]:
        """The threshold over base patch and requests, and the share of false alarms that it promises."""
        best = self._base_best
        for one in enrolled.values():
            best = torch.maximum(best, one.best)
        options = self.base.config.gate
        return calibrate(best, self.people, options.fpr, self.confidence, options.quantile)

    @torch.no_grad()
    def union(self, enrolled: dict[str, Enrolled]) -> EnrolmentGate:
        """The gate that knows the base patch's people and those of these requests."""
        after = int(self.gate.owner.max()) + 1
        owners = [torch.full((len(one.vectors),), after + n) for n, one in enumerate(enrolled.values())]
        templates = torch.cat([self.gate.templates, *(one.vectors for one in enrolled.values())])
        owner = torch.cat([self.gate.owner, *owners])
        added = templates[len(self.gate.templates) :]
        return self.gate.with_templates(templates, owner, self.gate.impostors_beside(added))

    @torch.no_grad()
    def weakened(self, thresholds: dict[str, float], bar: float) -> tuple[str, ...]:
        """Whom the gate recognises less than when they were measured, at the ``thresholds`` of then by id:
        requests, and in words how many people of the base patch. Of those of their templates that exceeded
        the threshold of then by their best similarity to another one, less than ``bar`` (a share) exceed that
        of today. Asks for no picture, so it is a sign, no measurement. Source: ours.
        """
        enrolled = self.enrolled()
        now, _ = self.threshold(enrolled)
        weaker = [
            name
            for name, then in thresholds.items()
            if name in enrolled and _falls_below(enrolled[name].vectors, then, now, bar)
        ]
        people = [self.gate.templates[self.gate.owner == number] for number in self.gate.owner.unique()]
        of_base = sum(_falls_below(one, self.base.threshold, now, bar) for one in people)
        return (*weaker, *([f"{of_base} of {len(people)} people of the base patch"] if of_base else []))

    def names(self) -> dict[str, RequestNames]:
        """The names of all active requests that have any, in order of their ids."""
        opened = {}
        for name, part in self.store.names().items():
            mark = name, sha256(part.data)
            opened[mark] = self._names.get(mark) or RequestNames.open(name, part.data, self.key)
        self._names = opened
        return {name: one for (name, _), one in opened.items()}

    def name_gate(self) -> tuple[NameGate | None, str]:
        """The gate for the names of the active requests and of the base patch, and a note of what it holds;
        None where there are no names.
        """
        names, base = self.names(), self.base
        if not names:
            return base.names, base.names_note
        marks = tuple(self._names)
        if self._name_gate[0] != marks:
            finder = NameFinder(
                NameHashes.union([one.hashes for one in names.values()]), names_secret(self.key)
            )
            gate = NameGate(finder, sum(one.count for one in names.values()), base.names)
            self._name_gate = marks, gate
        note = names_text(names)
        if base.names is not None or base.names_off:
            note += f"; of the base patch {base.names_note}"
        return self._name_gate[1], note

    def patch(self) -> Patch:
        """The patch of all active requests: to be used by a Guard, never to be published."""
        enrolled = self.enrolled()
        threshold, promised = self.threshold(enrolled)
        people = self.base.facts.get("people", len(self.gate.owner.unique())) + len(enrolled)
        facts = self.base.facts | {"people": people, "promised_fpr": promised}
        names, note = self.name_gate()
        return dataclasses.replace(
            self.base,
            gate=self.union(enrolled).eval(),
            encoder=self.encoder()[1],
            threshold=threshold,
            facts=facts,
            names=names,
            names_note=note,
        )

    def encoder(self) -> tuple[str | None, VisualTokenEncoder]:
        """SHA-256 of the sealed encoder in use, and that encoder; None and the base patch's where none was
        finetuned.
        """
        finetuned = self.store.encoder()
        if finetuned is None:
            return None, self.base.encoder
        name, sealed = finetuned
        mark = name, sha256(sealed)
        if self._encoder is None or self._encoder[0] != mark:
            options = self.base.config.encoder
            encoder = VisualTokenEncoder(int(self.base.host["width"]), options.hidden, options.depth)
            torch.nn.utils.vector_to_parameters(
                self.key.open_tensor(sealed, f"{name} encoder"), encoder.parameters()
            )
            self._encoder = mark, encoder.eval()
        return mark[1], self._encoder[1]

    def seal_encoder(self, name: str, encoder: VisualTokenEncoder) -> bytes:
        return self.key.seal_tensor(
            torch.nn.utils.parameters_to_vector(encoder.parameters()), f"{name} encoder"
        )


def _falls_below(vectors: Float[Tensor, "N M"], then: float, now: float, bar: float) -> bool:
    """Whether the templates that exceed the threshold of ``now`` by their best similarity to another one of
    these are less than ``bar`` (a share) of those that exceed that of ``then``.
    """
    if len(vectors) < 2:
        return False
    alike = vectors @ vectors.T
    best = alike.fill_diagonal_(-1).amax(1)
    return float((best > now).sum()) < bar * float((best > then).sum())
