"""What tokens do: replace those that a measure calls important, or unimportant, and see how the host's answer
changes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cagul.config import ImportanceKind
from cagul.data.records import Splits
from cagul.evaluation.metrics.text_metrics import keyword_recall
from cagul.evaluation.run_folder import Run
from cagul.guard.token_edit import importance_of, replace
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.host.frozen import Layout, Tokens
from cagul.host.prompt_layout import QuestionRows
from cagul.method.losses import answer_divergence, answer_loss
from cagul.method.selection import choose
from cagul.study.ablation import FILLERS, effects, filler, random_groups
from cagul.study.attention import Rollout
from cagul.study.pairs import Pair, StudySample, draw_pairs
from cagul.training.progress import Progress
from cagul.training.token_cache import TokenCache

BATCH = 64
SHARES = (0.125, 0.25, 0.5, 0.75, 0.875)  # of the tokens, replaced; 0 and 1 are the ends of every curve
NEW_TOKENS = 32
GROUPS = 8  # that tokens are dealt into
CAUSAL = "leave_one_out"


class TokenReplacement:
    """One pair whose tokens are replaced: the host's own answer, how likely it stays, and what is said
    instead.
    """

    def __init__(self, token_cache: TokenCache, pair: Pair, parts: AdaptiveBatch):
        self.features, self.host, self.pair, self.parts = token_cache, token_cache.host, pair, parts
        self.inputs, self.tokens, self.layout = token_cache.prompts([(pair.shown, pair.question)])
        self.encoded = self.host.prompter.encode(pair.question, token_cache.sizes[pair.shown[0]])
        self.answer = self._answers([self.tokens[0]])[0]
        self.before = self._logits([self.tokens[0]], 1)

    def _batch(self, count: int, answer: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        inputs, labels = self.host.prompter.batch([self.encoded] * count, [answer] * count)
        return self.host.to_device(inputs), labels.to(self.host.device)

    def _answers(self, variants: Tokens) -> list[list[int]]:
        """Ids of the greedy answers, their end mark included."""
        inputs, _ = self._batch(len(variants), [])
        output = self.host.generate(inputs, variants, **self.host.generation_options(NEW_TOKENS))
        eos = self.host.processor.tokenizer.eos_token_id
        answer_ids = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [ids[: ids.index(eos) + 1] if eos in ids else ids for ids in answer_ids]

    @torch.no_grad()
    def _logits(self, variants: Tokens, size: int) -> Float[Tensor, "B T vocab"]:
        inputs, labels = self._batch(len(variants[:size]), self.answer)
        return self.host.score(inputs, variants[:size], labels.shape[1] + 1)[:, :-1]

    def _score(self, variants: Tokens, size: int) -> list[tuple[float, float]]:
        logits = self._logits(variants, size)
        labels = torch.tensor(self.answer, device=logits.device).expand(len(logits), -1)
        divergence = answer_divergence(self.before.expand_as(logits), logits)
        return list(
            zip((-answer_loss(logits, labels) * len(self.answer)).tolist(), divergence.tolist(), strict=True)
        )

    def score(self, variants: Tokens) -> list[tuple[float, float]]:
        """Of each variant: log-probability of the host's own answer as a whole, and KL from the untouched
        host a token; nats.
        """
        done: list[tuple[float, float]] = []
        while len(done) < len(variants):
            done += self.parts.run("scoring answers", partial(self._score, variants[len(done) :]))
        return done

    def say(self, variants: Tokens) -> list[str]:
        """The host's answers to each variant."""
        done: list[list[int]] = []
        while len(done) < len(variants):
            rest = variants[len(done) :]
            done += self.parts.run("asking", lambda size, rest=rest: self._answers(rest[:size]))  # type: ignore[misc]
        return [
            text.strip()
            for text in self.host.processor.tokenizer.batch_decode(done, skip_special_tokens=True)
        ]


def causal_rows(
    token_cache: TokenCache,
    splits: Splits,
    run: Run,
    layers: frozenset[int],
    sample: StudySample,
    progress: Progress,
) -> None:
    """Rows of every replacement of every pair, and one of each pair with what every token does."""
    pairs = draw_pairs(splits, sample.causal, sample.seed)
    parts = AdaptiveBatch(BATCH)
    tokens = torch.cat(token_cache.encode_images([pair.shown for pair in pairs])).float()
    mean, deviation = tokens.mean(0), tokens.std(0, correction=0)
    for number, pair in enumerate(pairs):
        if f"effect/{pair.key}" not in run.rows.by_key:
            probe = TokenReplacement(token_cache, pair, parts)
            others = [p for p in pairs if p.subject != pair.subject]
            other = (
                token_cache.encode_images([others[number % len(others)].shown])[0]
                if others
                else probe.tokens[0].flip(0)
            )
            fillers = {
                kind: filler(kind, probe.tokens[0].cpu(), mean, deviation, other, number).to(
                    token_cache.host.device
                )
                for kind in FILLERS
            }
            importance, effect = _effects(probe, fillers["mean"], layers, sample, number)
            run.rows.append([*_curves(probe, fillers, importance), effect])
        progress("replacing tokens", number + 1, len(pairs))


def measure(token_cache: TokenCache, pair: Pair, layers: frozenset[int]) -> dict[str, Float[Tensor, " V"]]:
    """Every measure of importance that needs no replacing, of one pair."""
    host = token_cache.host
    prefill = token_cache.prompts([(pair.shown, pair.question)])
    inputs, layout = prefill.inputs, prefill.layout
    every = frozenset(range(host.layers))
    importance = {}
    wanted: tuple[tuple[str, ImportanceKind, frozenset[int]], ...] = (
        ("attention", "attention", layers),
        ("attention_all", "attention", every),
        ("value_norm", "value_norm", layers),
        ("gradient", "gradient", layers),
        ("gradient_all", "gradient", every),
        ("occlusion", "occlusion", layers),
    )
    for name, kind, read in wanted:
        importance[name] = importance_of(host, kind, read, prefill)[0]
    positions = torch.arange(inputs["input_ids"].shape[1])
    reading = Rollout()
    whole = Layout(layout.spans, {0: QuestionRows(positions, False, len(positions) - 1)})
    host.capture_attention(prefill._replace(layout=whole), every, reading.add)
    importance["rollout"] = reading.result([layout.questions[0].rows], [layout.spans[0].columns])[0]
    return importance


def _effects(
    probe: TokenReplacement, by: Tensor, layers: frozenset[int], sample: StudySample, number: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All measures of a pair, and the row that compares them with what each token does in random company;
    both by KL.
    """
    tokens, pair = probe.tokens[0], probe.pair
    size = len(tokens)
    parts = min(GROUPS, size)
    groups = random_groups(size, parts, sample.deals, number)
    values = torch.tensor(
        [change for _, change in probe.score([replace(tokens, mask, by) for mask in groups])]
    )
    order = torch.randperm(size, generator=torch.Generator().manual_seed(number))[: sample.leave_one_out]
    alone = torch.eye(size, dtype=torch.bool)[order]
    changes = torch.tensor(
        [change for _, change in probe.score([replace(tokens, mask, by) for mask in alone])]
    )
    importance = measure(probe.features, pair, layers)
    importance[CAUSAL] = changes.median().repeat(size)  # of tokens that were not tried: in the middle
    importance[CAUSAL][order] = changes
    chosen, turn = order.sort().values, torch.arange(len(groups)) // parts % 2  # whole deals
    row = {
        "key": f"effect/{pair.key}",
        "study": "effect",
        "kind": pair.kind,
        "subject": pair.subject,
        "visual_tokens": size,
        "sampled": len(order),
        "effect": _of(effects(groups, values), chosen),
        "halves": [_of(effects(groups[turn == part], values[turn == part]), chosen) for part in (0, 1)],
        "measures": {name: _of(scores, chosen) for name, scores in importance.items()},
    }
    return importance, row


def _of(values: Tensor, chosen: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in values[chosen].tolist()]


def _curves(
    probe: TokenReplacement, fillers: dict[str, Tensor], importance: dict[str, Tensor]
) -> list[dict[str, Any]]:
    """Replace the top, bottom and random K by attention with every filler, and top and bottom by every other
    measure; what is said then is asked for attention alone.
    """
    tokens, pair = probe.tokens[0], probe.pair
    valid = torch.ones(1, len(tokens), dtype=torch.bool)
    untouched = {"measure": "", "how": "none", "filler": "", "share": 0.0}
    wanted: list[tuple[dict[str, Any], Bool[Tensor, " V"]]] = [(untouched, ~valid[0])]
    for kind in fillers:
        wanted.append(({"measure": "", "how": "all", "filler": kind, "share": 1.0}, valid[0]))
        for name, values in (
            importance.items() if kind == "mean" else [("attention", importance["attention"])]
        ):
            for how in ("top", "bottom", "random") if name == "attention" else ("top", "bottom"):
                for share in SHARES:
                    mask = choose(how, values[None], valid, share)[0]
                    wanted.append(({"measure": name, "how": how, "filler": kind, "share": share}, mask))
    variants = [replace(tokens, mask, fillers[about["filler"] or "mean"]) for about, mask in wanted]
    with_output = [n for n, (about, _) in enumerate(wanted) if about["measure"] in ("", "attention")]
    outputs: dict[int, str] = dict(
        zip(with_output, probe.say([variants[n] for n in with_output]), strict=True)
    )
    rows = []
    for n, ((about, mask), (likely, divergence)) in enumerate(
        zip(wanted, probe.score(variants), strict=True)
    ):
        key = "/".join(("causal", pair.key, *map(str, about.values())))
        rows.append(
            {
                "key": key,
                "study": "causal",
                "kind": pair.kind,
                "subject": pair.subject,
                **about,
                "replaced": int(mask.sum()),
                "output": outputs.get(n),
                "recall": keyword_recall(outputs[n], pair.record.keywords) if n in outputs else None,
                "log_probability": likely,
                "divergence": divergence,
            }
        )
    return rows
