"""Where questions look: importance by layer and head, how concentrated it is, and the same for what is asked
beside.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from cagul.data.grouping import evenly_spaced
from cagul.data.pictures import PictureVariant
from cagul.data.records import Splits
from cagul.evaluation.attention_maps import Maps
from cagul.evaluation.run_folder import Run
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.host.frozen import FrozenHost
from cagul.study.attention import entropy, top_share
from cagul.study.pairs import Pair, StudySample, beside, draw_pairs
from cagul.study.summary import depths
from cagul.training.progress import Progress
from cagul.training.token_cache import TokenCache

BATCH = 32
TIMES = 15  # repetitions of each timing; their median counts


def read_maps(token_cache: TokenCache, prompts: list[tuple[PictureVariant, str]], size: int) -> list[Tensor]:
    """Maps (L, H, V) of the first ``size`` (picture, question) pairs, of all layers."""
    prefill = token_cache.prompts(prompts[:size])
    reading = Maps([span.columns for span in prefill.layout.spans])
    every = frozenset(range(token_cache.host.layers))
    token_cache.host.capture_attention(prefill, every, reading.add)
    return reading.result()


def in_parts(
    token_cache: TokenCache, prompts: list[tuple[PictureVariant, str]], parts: AdaptiveBatch
) -> Iterator[list[Tensor]]:
    """``read_maps`` of all, in parts that memory allows."""
    while prompts:
        maps = parts.run("reading attention", partial(read_maps, token_cache, prompts))
        yield maps
        prompts = prompts[len(maps) :]


def map_rows(
    token_cache: TokenCache,
    splits: Splits,
    run: Run,
    sample: StudySample,
    other: FrozenHost | None,
    progress: Progress,
) -> None:
    """One row for each pair as it is, each thing asked beside it, and the pair as another host of the same
    tokens sees it.
    """
    pairs = draw_pairs(splits, sample.maps, sample.seed)
    own = {
        f"map/{pair.key}/{name}": (pair, name, asked)
        for pair in pairs
        for name, asked in ({"own": (pair.shown, pair.question)} | beside(pair, splits, sample.seed)).items()
    }
    _append(token_cache, own, run, progress, "reading attention maps")
    _head_rows(token_cache, pairs, run)
    if other is not None:
        seen = {f"map/{pair.key}/host": (pair, "host", (pair.shown, pair.question)) for pair in pairs}
        _append(TokenCache(other, token_cache.seed), seen, run, progress, "reading the other host's maps")
    _time_rows(token_cache, pairs, run)


def _append(
    token_cache: TokenCache,
    wanted: dict[str, tuple[Pair, str, tuple[PictureVariant, str]]],
    run: Run,
    progress: Progress,
    stage: str,
) -> None:
    keys = [key for key in wanted if key not in run.rows.by_key]
    done = 0
    for read in in_parts(token_cache, [wanted[key][2] for key in keys], AdaptiveBatch(BATCH)):
        rows = []
        for key, maps in zip(keys[done:], read, strict=False):
            pair, name, _ = wanted[key]
            row = {
                "key": key,
                "study": "map",
                "pair": pair.key,
                "variant": name,
                "kind": pair.kind,
                "subject": pair.subject,
                "layers": _short(maps.mean(1)),
            }
            if name == "own":
                row |= {
                    "entropy": _short(entropy(maps)),
                    "top": _short(top_share(maps)),
                    "mass": _short(maps.sum(-1)),
                }
            rows.append(row)
        run.rows.append(rows)
        done += len(rows)
        progress(stage, done, len(keys))


def _head_rows(token_cache: TokenCache, pairs: list[Pair], run: Run) -> None:
    """One row for each question kind: the mean map of every head of at most six layers, each map as shares of
    its own sum.
    """
    layers = evenly_spaced(token_cache.host.layers)
    for kind in dict.fromkeys(pair.kind for pair in pairs):
        prompts = [(pair.shown, pair.question) for pair in pairs if pair.kind == kind]
        if f"heads/{kind}" in run.rows.by_key:
            continue
        maps = [
            of_pair[layers]
            for part in in_parts(token_cache, prompts, AdaptiveBatch(BATCH))
            for of_pair in part
        ]
        # the same tokens cannot be compared otherwise
        size = Counter(of_pair.shape[-1] for of_pair in maps).most_common(1)[0][0]
        shares = [
            of_pair / of_pair.sum(-1, keepdim=True).clamp(min=1e-12)
            for of_pair in maps
            if of_pair.shape[-1] == size
        ]
        mean = torch.stack(shares).mean(0)
        run.rows.append(
            [
                {
                    "key": f"heads/{kind}",
                    "study": "heads",
                    "kind": kind,
                    "subject": "",
                    "pairs": len(shares),
                    "layers": layers,
                    "maps": [_short(layer) for layer in mean],
                }
            ]
        )


def _short(values: Tensor) -> list:
    """Four digits that count: what a figure needs of a number, in a third of the space."""
    return [[float(f"{value:.4g}") for value in row] for row in values.tolist()]


def _time_rows(token_cache: TokenCache, pairs: list[Pair], run: Run) -> None:
    """Milliseconds of one attention pass over the first n layers, and of one answer of the host for scale;
    medians.
    """
    if "time" in run.rows.by_key or not pairs:
        return
    host = token_cache.host
    prefill = token_cache.prompts([(pairs[0].shown, pairs[0].question)])

    def attend(depth: int) -> None:
        reading = Maps([prefill.layout.spans[0].columns])
        host.capture_attention(prefill, frozenset(range(depth)), reading.add)

    jobs = {f"first {depth}": partial(attend, depth) for depth in depths(host.layers)}
    options = host.generation_options(12) | {"min_new_tokens": 12}
    jobs["answer of 12 tokens"] = partial(host.generate, prefill.inputs, prefill.tokens, **options)
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(TIMES):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            spent[name].append(1000 * (time.perf_counter() - began))
    run.rows.append(
        [
            {
                "key": "time",
                "study": "time",
                "subject": "",
                "milliseconds": {name: round(statistics.median(times), 3) for name, times in spent.items()},
            }
        ]
    )
