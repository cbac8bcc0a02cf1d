"""Token log-likelihoods of given answers, from a host or through a guard's gate. The torch side of
likelihood.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cagul.data.pictures import open_picture
from cagul.errors import HostError
from cagul.guard.decision import Decision
from cagul.guard.guard import Guard
from cagul.guard.routed import RoutedGuard
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.host.frozen import FrozenHost, Tokens
from cagul.host.prompter import Encoded

BATCH = 64


@dataclass(frozen=True)
class Triple:
    """One answer to one question about one picture (or none)."""

    picture: Path | None
    question: str
    answer: str


@dataclass(frozen=True)
class Scored:
    """An answer's tokens, its end mark included: negative log-likelihoods, and mean and deviation of the
    log-likelihood over the vocabulary at each position, as Min-K++ needs them. ``decision`` is the gate's
    verdict where there was one.
    """

    nll: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    decision: Decision | None


def score(answerer: FrozenHost | Guard, triples: Sequence[Triple], batch: int = BATCH) -> list[Scored]:
    """Every answer's tokens, scored in batches of like questions, in the order given; with a guard, from the
    tokens it rewrote.
    """
    by_place: dict[int, Scored] = {}
    if isinstance(answerer, RoutedGuard):
        return _score_routed(answerer, triples, batch)
    parts = AdaptiveBatch(batch)
    for pictured in (True, False):
        order = [i for i, triple in enumerate(triples) if (triple.picture is not None) == pictured]
        order.sort(key=lambda i: (len(triples[i].question), triples[i].question, str(triples[i].picture)))
        while order:
            scored = parts.run("scoring answers", partial(_score, answerer, [triples[i] for i in order]))
            by_place |= zip(order[: len(scored)], scored, strict=True)
            order = order[len(scored) :]
    return [by_place[i] for i in range(len(triples))]


def _score_routed(guard: RoutedGuard, triples: Sequence[Triple], batch: int) -> list[Scored]:
    """Each answer is scored by who would give it: the host, or an expert."""
    paths = list(dict.fromkeys(t.picture for t in triples if t.picture is not None))
    routes: dict[Path | None, tuple[FrozenHost, Decision | None]] = {None: (guard.host, None)}
    for start in range(0, len(paths), batch):
        part = paths[start : start + batch]
        routes |= zip(part, guard.routes([open_picture(path) for path in part]), strict=True)
    by_place: dict[int, Scored] = {}
    for model in (guard.host, *guard.experts):
        places = [n for n, triple in enumerate(triples) if routes[triple.picture][0] is model]
        scored = score(model, [triples[n] for n in places], batch)
        for place, one in zip(places, scored, strict=True):
            by_place[place] = replace(one, decision=routes[triples[place].picture][1])
    return [by_place[n] for n in range(len(triples))]


@torch.no_grad()
def _score(answerer: FrozenHost | Guard, triples: list[Triple], count: int) -> list[Scored]:
    """Each question is put to each picture once, whatever the number of answers: the gate and its edit know
    no answer.
    """
    host, part = answerer.host if isinstance(answerer, Guard) else answerer, triples[:count]
    questions = list(dict.fromkeys((t.picture, t.question) for t in part))
    pictures = [open_picture(picture) for picture, _ in questions if picture is not None]
    prompts = host.inputs(
        [host.prompter.prompt(question, int(picture is not None)) for picture, question in questions],
        pictures,
    )
    tokens, decisions = (
        _tokens(answerer, prompts, len(questions)) if pictures else ([], [None] * len(questions))
    )
    rows = [questions.index((t.picture, t.question)) for t in part]
    labels = pad_sequence(
        [torch.tensor(host.prompter.answer_ids(t.question, t.answer)) for t in part], True, -1
    ).to(host.device)
    if host.family.token_types:
        pictured = (question for question in questions if question[0] is not None)
        logits = _whole_logits(host, part, dict(zip(pictured, tokens, strict=True)))
    else:
        logits = _logits(host, prompts, tokens, torch.tensor(rows, device=host.device), labels)
    values = token_values(logits, labels).cpu()
    scored = []
    for n, row in enumerate(rows):
        nll, mean, deviation = (tuple(value[n][labels[n].cpu() >= 0].tolist()) for value in values)
        scored.append(Scored(nll, mean, deviation, decisions[row]))
    return scored


def _tokens(
    answerer: FrozenHost | Guard, prompts: dict[str, Tensor], count: int
) -> tuple[Tokens, Sequence[Decision | None]]:
    """Visual tokens of ``count`` prompts, as the guard rewrote them, and the gate's decisions; None of a
    host.
    """
    if isinstance(answerer, Guard):
        tokens = answerer.tokens(prompts)
        return tokens, list(answerer.decisions) or [None] * count
    return answerer.encode_images(prompts), [None] * count


def _logits(
    host: FrozenHost,
    prompts: dict[str, Tensor],
    tokens: Tokens,
    rows: Int[Tensor, " B"],
    labels: Int[Tensor, "B T"],
) -> Float[Tensor, "B T vocab"]:
    """Logits that predict the labels; label b answers prompt ``rows[b]``, which is read once and then taken
    from the cache.
    """
    mask = prompts["attention_mask"]
    given = {"mm_encoder_outputs": host.features(tokens)} if tokens else {}
    read = host.model(
        input_ids=prompts["input_ids"], attention_mask=mask, **given, use_cache=True, logits_to_keep=1
    )
    read.past_key_values.batch_select_indices(rows)
    continued = host.model(
        input_ids=labels.clamp(min=0),
        attention_mask=torch.cat([mask[rows], (labels >= 0).to(mask)], 1),
        past_key_values=read.past_key_values,
    )
    return torch.cat([read.logits[rows], continued.logits[:, :-1]], 1)


def _whole_logits(
    host: FrozenHost, part: list[Triple], tokens: dict[tuple[Path | None, str], Tensor]
) -> Float[Tensor, "B T vocab"]:
    """The same for a family with token types, which its own generation sets and a cache alone does not: whole
    sequences.
    """
    encoded, answers = [], [host.prompter.answer_ids(t.question, t.answer) for t in part]
    for one in part:
        if one.picture is None:
            ids = host.prompter.inputs([host.prompter.prompt(one.question, 0)], [])["input_ids"][0].tolist()
            encoded.append(Encoded(ids, {name: [0] * len(ids) for name in host.family.token_types}, {}))
        else:
            encoded.append(host.prompter.encode(one.question, open_picture(one.picture).size))
    inputs, labels = host.prompter.batch(encoded, answers)
    given = [tokens[t.picture, t.question] for t in part if t.picture is not None]
    logits = host.score(host.to_device(inputs), given, labels.shape[1] + 1)[:, :-1]
    return pad_sequence(
        [row[len(row) - len(answer) :] for row, answer in zip(logits, answers, strict=True)], True
    )


def token_values(logits: Float[Tensor, "B T vocab"], labels: Int[Tensor, "B T"]) -> Float[Tensor, "3 B T"]:
    """Negative log-likelihood of each label, then mean and deviation of the log-likelihood under the host's
    own prediction.

    Padding (a label below 0) gives values that mean nothing. Source: Min-K++, arXiv 2404.02936.
    """
    logs = logits.float().log_softmax(-1)
    chances = logs.exp()
    mean = (chances * logs).sum(-1)
    spread = (chances * (logs - mean[..., None]).square()).sum(-1)
    return torch.stack([-logs.gather(-1, labels.clamp(min=0)[..., None])[..., 0], mean, spread.sqrt()])


def require_same_tokens(host: FrozenHost, retain_host: FrozenHost) -> None:
    """A truth ratio is compared between hosts that read and write alike.

    Raises HostError for a retain host of another family or with another tokenizer.
    """
    families = host.family.model_type, retain_host.family.model_type
    if families[0] != families[1]:
        raise HostError(
            f"The retain host is of the family {families[1]!r}, the host of {families[0]!r}.",
            "Give a retain host that was finetuned from the same checkpoint.",
            "retain-host",
        )
    own, other = (h.processor.tokenizer.get_vocab() for h in (host, retain_host))
    if own != other:
        raise HostError(
            f"The retain host's tokenizer holds {len(other)} tokens, the host's {len(own)}, and "
            f"{len(own.items() ^ other.items())} entries differ.",
            "Give a retain host that was finetuned from the same checkpoint.",
            "retain-host",
        )
