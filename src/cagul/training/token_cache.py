"""Visual tokens of pictures, computed once and kept; the importance of (picture, question) pairs likewise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cagul.config import Config, ImportanceKind
from cagul.data.pictures import PictureVariant, shown_picture
from cagul.guard.token_edit import choose_by, importance_of, needs_attention
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.host.frozen import FrozenHost, Prefill, Tokens
from cagul.training.distributed import SINGLE, Processes
from cagul.training.progress import Progress, silent
from cagul.training.token_store import TokenStore

Pair = tuple[PictureVariant, str]  # a picture and the question about it
Choice = tuple[Hashable, ...]  # all that a choice of tokens depends on, besides the pair


class TokenCache:
    """Visual tokens by picture and variant, in the host's dtype; chosen-token masks by the choice (selection,
    and what it reads: kind of importance and layers), picture, variant and question.

    Several ``processes`` share the work and hold all of it; each must ask for the same.
    """

    def __init__(
        self,
        host: FrozenHost,
        seed: int = 0,
        batch: int = 32,
        store: TokenStore | None = None,
        processes: Processes = SINGLE,
    ):
        self.host, self.seed, self.processes = host, seed, processes
        self.batch, self.looking, self.attending = batch, AdaptiveBatch(batch), AdaptiveBatch(2 * batch)
        self.tokens = store or TokenStore(float("inf"))
        self.sizes: dict[Path, tuple[int, int]] = {}
        self.masks: dict[tuple[Choice, Pair], Bool[Tensor, " V"]] = {}
        self.importance: dict[tuple[ImportanceKind, frozenset[int], Pair], Float[Tensor, " V"]] = {}

    def encode_images(
        self, shown: Iterable[PictureVariant], progress: Progress = silent, stage: str = "looking at pictures"
    ) -> Tokens:
        """Tokens of pictures, from the store where they are known."""
        shown = list(shown)
        missing = [one for one in dict.fromkeys(shown) if one not in self.tokens]
        for encoded, done in self._spread(
            "looking at pictures", missing, self.batch, self.looking, self._look
        ):
            self.tokens.put({one: tokens for one, (tokens, _) in encoded.items()})
            self.sizes |= {path: size for (path, _), (_, size) in encoded.items()}
            progress(stage, done, len(missing))
        return [self.tokens[one] for one in shown]

    def _look(
        self, wanted: list[PictureVariant], count: int
    ) -> dict[PictureVariant, tuple[Tensor, tuple[int, int]]]:
        part = wanted[:count]
        pictures = [shown_picture(one, self.seed) for one in part]
        seen = self.host.encode_images(self.host.image_inputs(pictures))
        return {
            one: (tokens.cpu(), picture.size)
            for one, tokens, picture in zip(part, seen, pictures, strict=True)
        }

    def choose(
        self, pairs: Iterable[Pair], config: Config, layers: frozenset[int], progress: Progress = silent
    ) -> None:
        """Choose tokens for (picture, question) pairs: one attention pass of the untouched host for each,
        where the selection reads importance.
        """
        choice = _choice(config, layers)
        missing = sorted(
            {pair for pair in pairs if (choice, pair) not in self.masks}, key=lambda p: (len(p[1]), str(p))
        )
        choose = partial(self._choose, config, layers)
        for masks, done in self._spread("reading attention", missing, 2 * self.batch, self.attending, choose):
            self.masks.update({(choice, pair): mask for pair, mask in masks.items()})
            progress("reading attention", done, len(missing))

    def masks_of(
        self, pairs: Iterable[Pair], config: Config, layers: frozenset[int]
    ) -> list[Bool[Tensor, " V"]]:
        """The chosen tokens of pairs for which ``choose`` was called with the same options."""
        choice = _choice(config, layers)
        return [self.masks[choice, pair] for pair in pairs]

    def _spread(
        self, what: str, missing: list, size: int, parts: AdaptiveBatch, work: Callable[[list, int], dict]
    ) -> Iterator[tuple[dict, int]]:
        """What ``work`` finds for all that is missing, batch by batch, and how many are done.

        Batches of ``size`` are cut alike in every process; ``parts`` are of the one whose memory ran out.
        """
        done = 0

        def whole(batch: list) -> dict[Any, Any]:
            results: dict[Any, Any] = {}
            while len(results) < len(batch):
                results |= parts.run(what, partial(work, batch[len(results) :]))
            return results

        for results in self.processes.map(
            [missing[n : n + size] for n in range(0, len(missing), size)], whole
        ):
            done += len(results)
            yield results, done

    def _choose(
        self, config: Config, layers: frozenset[int], wanted: list[Pair], count: int
    ) -> dict[Pair, Bool[Tensor, " V"]]:
        part, kind = wanted[:count], config.attention.kind
        if not needs_attention(config):
            importance = [
                torch.zeros(len(tokens)) for tokens in self.encode_images(shown for shown, _ in part)
            ]
        else:
            if not all((kind, layers, pair) in self.importance for pair in part):
                prefill = self.prompts(part)
                read = importance_of(self.host, kind, layers, prefill)
                rows = zip(part, read, prefill.tokens, strict=True)
                self.importance |= {(kind, layers, pair): row[: len(own)] for pair, row, own in rows}
            importance = [self.importance[kind, layers, pair] for pair in part]
        return dict(zip(part, choose_by(config, importance), strict=True))

    def prompts(self, pairs: list[Pair]) -> Prefill:
        """A batch of (picture, question) pairs: inputs without pixels, untouched tokens, and where they
        are.
        """
        tokens = [t.to(self.host.device) for t in self.encode_images(shown for shown, _ in pairs)]
        encoded = [self.host.prompter.encode(question, self.sizes[shown[0]]) for shown, question in pairs]
        inputs = self.host.to_device(self.host.prompter.batch(encoded, [[] for _ in pairs])[0])
        return self.host.prefill(inputs, tokens)


def _choice(config: Config, layers: frozenset[int]) -> Choice:
    """What the masks of a pair depend on. A selection that reads no importance depends on no layers."""
    selection = config.selection
    read = (config.attention.kind, layers) if needs_attention(config) else ()
    return (selection.choose, type(selection.k), selection.k, *read)
