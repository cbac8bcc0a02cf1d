"""The gate (the paper's discriminator): does this picture show somebody of the forget set? Two kinds, one
interface.

``mlp`` is the paper's trained classifier over visual token embeddings. ``enrolment`` is ours: a linear metric
learned on retained and forgotten people tells what makes two pictures show the same person, and a picture is
compared with the enrolled ones. It is open-set by design, which a classifier trained on a few known people is
not.
"""

from __future__ import annotations

from collections.abc import Callable

import scipy.linalg
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cagul.errors import DataError, PatchError, reason

CELLS = 64  # of the layout pool
IMPOSTOR_WEIGHT = 4.0  # how much an impostor's lead costs; chosen on three forget sets, see LOG.md
PCA_RANK = 256  # directions that the metric is learned in, at most
PCA_BLOCK = 1024  # dimensions that are worked on at once
PCA_ROWS = 4096  # pictures that the directions are computed from, at most; drawn by a fixed seed


def layout_pool(tokens: list[Float[Tensor, "V D"]], cells: int = CELLS) -> Float[Tensor, "B cells*D"]:
    """Tokens in place: averaged (or repeated) in reading order into ``cells`` cells, each of unit size, side
    by side.
    """
    width = tokens[0].shape[1]
    # filled in place: many pictures are held once
    pooled = torch.empty(len(tokens), cells * width, device=tokens[0].device)
    for n, token in enumerate(tokens):
        cell = F.adaptive_avg_pool1d(token.float().T[None], cells)[0].T
        pooled[n] = F.layer_norm(cell, (width,)).flatten()
    return pooled


def moment_pool(tokens: list[Float[Tensor, "V D"]]) -> Float[Tensor, "B 2D"]:
    """Mean and standard deviation over an image's tokens."""
    return torch.stack([torch.cat([t.float().mean(0), t.float().std(0, correction=0)]) for t in tokens])


Pool = Callable[[list[Float[Tensor, "V D"]]], Float[Tensor, "B P"]]
# by the names of `gate.pool`: the pool, and how many numbers of it belong to one of a token
POOLS: dict[str, tuple[Pool, int]] = {"moments": (moment_pool, 2), "layout": (layout_pool, CELLS)}


class MlpGate(nn.Module):
    """A classifier over pooled tokens; the score is a logit. Source: the paper's discriminator, its layers
    are ours.
    """

    kind = "mlp"
    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, hidden: int = 256):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * width))
        self.register_buffer("scale", torch.ones(2 * width))
        self.net = nn.Sequential(nn.Linear(2 * width, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, tokens: list[Float[Tensor, "V D"]]) -> Float[Tensor, " B"]:
        return self.net((moment_pool(tokens) - self.mean) / self.scale)[:, 0]

    def standardise(self, pooled: Float[Tensor, "N 2D"]) -> None:
        self.mean.copy_(pooled.mean(0))
        self.scale.copy_(pooled.std(0).clamp(min=1e-4))

    @property
    def width(self) -> int:
        """Width of the host that it judges for."""
        return len(self.mean) // 2

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> MlpGate:
        with torch.device("meta"):
            gate = cls(tensors["mean"].shape[0] // 2, tensors["net.0.weight"].shape[0])
        gate.load_state_dict(tensors, assign=True)
        return gate


STORED_IMPOSTORS = "rivals"  # the tensor's name in patches of format 1, and in the hash that stores keep


class EnrolmentGate(nn.Module):
    """Compares a picture with enrolled ones under a learned linear metric; the score is the best similarity,
    -1 to 1.

    ``pool`` says what of a picture's tokens is compared: their moments, which do not depend on the place, or
    their layout. ``mean`` (P,) and ``projection`` (P, M) are the metric; ``templates`` (N, M) are enrolled
    pictures, unit length, ``owner`` (N,) numbers their people from 0. ``impostors`` (R, M) are pictures of
    people who are not forgotten and look so alike that the gate would fire on them: a picture that is nearer
    to one of these loses IMPOSTOR_WEIGHT times the difference. Templates and impostors are face templates, so
    personal data. Source: ours.
    """

    kind = "enrolment"
    mean: Tensor
    projection: Tensor
    templates: Tensor
    owner: Tensor

    def __init__(
        self,
        mean: Tensor,
        projection: Tensor,
        templates: Tensor,
        owner: Tensor,
        impostors: Tensor | None = None,
        *,
        pool: str = "moments",
    ):
        super().__init__()
        self.pool = pool
        impostors = templates[:0] if impostors is None else impostors
        named = {
            "mean": mean,
            "projection": projection,
            "templates": templates,
            "owner": owner,
            STORED_IMPOSTORS: impostors,
        }
        for name, tensor in named.items():
            self.register_buffer(name, tensor)

    @property
    def impostors(self) -> Tensor:
        """Templates (R, M) of those people."""
        return self.get_buffer(STORED_IMPOSTORS)

    @impostors.setter
    def impostors(self, impostors: Tensor) -> None:
        self.register_buffer(STORED_IMPOSTORS, impostors)

    def embed(self, tokens: list[Float[Tensor, "V D"]]) -> Float[Tensor, "B M"]:
        pool, _ = POOLS[self.pool]
        return F.normalize((pool(tokens) - self.mean) @ self.projection, dim=-1)

    def forward(self, tokens: list[Float[Tensor, "V D"]]) -> Float[Tensor, " B"]:
        return self.compare(self.embed(tokens))

    def compare(self, vectors: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Scores of embedded pictures."""
        score = (vectors @ self.templates.T).amax(1)
        if len(self.impostors) == 0:
            return score
        return score - IMPOSTOR_WEIGHT * F.relu((vectors @ self.impostors.T).amax(1) - score)

    def enrol(self, tokens: list[Float[Tensor, "V D"]], owner: Int[Tensor, " N"]) -> EnrolmentGate:
        """A gate that knows these people too, numbered from 0 in ``owner``."""
        after, added = int(self.owner.max()) + 1, self.embed(tokens)
        templates, owners = torch.cat([self.templates, added]), torch.cat([self.owner, owner + after])
        return self.with_templates(templates, owners, self.impostors_beside(added))

    def with_templates(self, templates: Tensor, owner: Tensor, impostors: Tensor) -> EnrolmentGate:
        """A gate of this metric that knows these pictures instead."""
        return EnrolmentGate(self.mean, self.projection, templates, owner, impostors, pool=self.pool)

    def impostors_beside(self, added: Float[Tensor, "N M"]) -> Float[Tensor, "R M"]:
        """The impostors, less those who look more like these new templates than like anybody enrolled: an
        impostor may ask to be forgotten too.
        """
        if not len(self.impostors) or not len(added):
            return self.impostors
        return self.impostors[
            (self.impostors @ added.T).amax(1) <= (self.impostors @ self.templates.T).amax(1)
        ]

    @torch.no_grad()
    def learn_impostors(
        self, tokens: list[Float[Tensor, "V D"]], person: Int[Tensor, " N"], threshold: float
    ) -> int:
        """Keep the pictures of those people, none of them forgotten, on whom the gate fires; how many people
        they are.
        """
        alarmed = person[self(tokens) > threshold].unique()
        self.impostors = torch.cat([self.impostors, self.embed(tokens)[torch.isin(person, alarmed)]])
        return len(alarmed)

    @property
    def width(self) -> int:
        """Width of the host that it judges for."""
        return len(self.mean) // POOLS[self.pool][1]

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], pool: str) -> EnrolmentGate:
        others = {name: tensor for name, tensor in tensors.items() if name != STORED_IMPOSTORS}
        gate = cls(**others, impostors=tensors.get(STORED_IMPOSTORS), pool=pool)
        if (gate.mean @ gate.projection).shape != gate.templates.shape[1:] or gate.templates.shape[
            1:
        ] != gate.impostors.shape[1:]:
            raise IndexError(
                f"projection {tuple(gate.projection.shape)} and templates {tuple(gate.templates.shape)} do "
                "not fit"
            )
        if len(gate.owner) != len(gate.templates) or not len(gate.owner):
            raise IndexError(f"{len(gate.templates)} templates with {len(gate.owner)} owners")
        return gate


def load_gate(kind: str, tensors: dict[str, Tensor], pool: str) -> MlpGate | EnrolmentGate:
    """Rebuild a gate from a patch's tensors; ``pool`` is that of an enrolment gate.

    Raises PatchError when the tensors are not those of the kind.
    """
    try:
        if kind == MlpGate.kind:
            return MlpGate.from_tensors(tensors)
        return EnrolmentGate.from_tensors(tensors, pool)
    except (KeyError, TypeError, RuntimeError, IndexError) as error:
        raise PatchError(
            f"The patch holds no whole {kind!r} gate: {reason(error)}.",
            "Train it again with `cagul unlearn`.",
        ) from None


def learn_metric(
    pooled: Float[Tensor, "N P"], person: Int[Tensor, " N"], size: int, shrink: float = 0.1
) -> tuple[Float[Tensor, " P"], Float[Tensor, "P M"]]:
    """A linear metric that keeps what differs between people and drops what differs between pictures of one
    person.

    PCA to the data's own rank, whitening of the within-person scatter (shrunk towards its mean variance),
    then the directions of the largest between-person scatter. Returns the mean and the projection (P, M), M
    at most ``size`` and one less than the people.

    Raises DataError with fewer than three people or without a person of two pictures. Source: linear
    discriminant analysis; its use here is ours.
    """
    people = person.unique()
    if len(people) < 3 or len(people) == len(person):
        raise DataError(
            f"The gate's metric needs three people with two pictures or more, and got {len(people)} people "
            f"with {len(person)} pictures.",
            "Add records of people who are not forgotten, or set gate.kind=mlp.",
            "gate-people",
        )
    mean = pooled.mean(0)
    centred = pooled - mean
    basis = _principal(centred)
    rank = basis.shape[1]
    reduced = centred @ basis
    centroids = torch.stack([reduced[person == p].mean(0) for p in people])
    within = reduced - centroids[torch.searchsorted(people, person)]
    covariance = within.T @ within / max(1, len(within) - len(people))
    covariance = (1 - shrink) * covariance + shrink * covariance.diagonal().mean() * torch.eye(rank)
    values, vectors = torch.linalg.eigh(covariance)
    whiten = vectors / values.clamp(min=1e-8).sqrt()
    between = (centroids - centroids.mean(0)) @ whiten
    _, _, directions = torch.linalg.svd(between, full_matrices=False)
    return mean, basis @ whiten @ directions[: min(size, len(people) - 1)].T


def _principal(centred: Float[Tensor, "N P"]) -> Float[Tensor, "P R"]:
    """Principal directions, exact and without randomness: by the Gram matrix of the pictures, fewer than
    dimensions.

    In blocks of dimensions, so that no second copy of all pictures in double precision is held.
    """
    rows = torch.randperm(len(centred), generator=torch.Generator().manual_seed(0))[:PCA_ROWS]
    blocks = centred[rows.sort().values].split(PCA_BLOCK, dim=1)
    gram = torch.zeros(len(blocks[0]), len(blocks[0]), dtype=torch.float64)
    for block in blocks:
        gram.addmm_(block.double(), block.double().T)
    largest = (max(0, len(gram) - PCA_RANK), len(gram) - 1)
    decomposed = scipy.linalg.eigh(gram.numpy(), subset_by_index=largest, overwrite_a=True)
    values, vectors = (torch.from_numpy(part) for part in decomposed)
    kept = values > 1e-10 * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    return torch.cat([(block.double().T @ vectors / values.sqrt()).float() for block in blocks])
