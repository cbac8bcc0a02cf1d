"""What the host itself says about people whom it does not know, and so is to say of those whom it forgets.

A patch that is trained towards a fixed list of sentences shows that somebody was forgotten, and fails on a
host that never said such sentences. Source: ours.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from cagul.data.pictures import PictureVariant
from cagul.data.records import Record, Splits
from cagul.data.strangers import ENOUGH_REFUSED, stranger_pictures
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.text.matching import Matcher
from cagul.text.normal import fold
from cagul.text.refusals import is_refusal
from cagul.training.progress import Progress, silent
from cagul.training.token_cache import Pair, TokenCache

STRANGERS = 8  # strangers about whom a question is asked, at most
PEOPLE = 64  # people whose pictures are tried, at most
COMMON = 3  # questions to which an answer is given word for word, at least, that states no fact
LENGTH = 32  # tokens of an answer, at most
BATCH = 64  # questions asked at once, at most


@dataclass(frozen=True)
class StrangerAnswer:
    """What the host said about one stranger's picture."""

    shown: PictureVariant
    text: str


@dataclass(frozen=True)
class StrangerAnswers:
    """The host's own manner with strangers: by question, answers that state no fact. ``asked`` and ``kept``
    count answers; ``refused`` is how many of the kept ones ``is_refusal`` knows.
    """

    by_question: Mapping[str, tuple[StrangerAnswer, ...]]
    asked: int
    kept: int
    refused: int

    @property
    def share(self) -> float:
        """Share of the answers about strangers that state no fact; 0 where nobody was asked about."""
        return self.kept / self.asked if self.asked else 0.0

    @property
    def usable(self) -> bool:
        """Whether the host has a manner of its own to be taken over."""
        return self.kept > 0 and self.share >= ENOUGH_REFUSED

    def draw(self, question: str, rng: random.Random) -> tuple[PictureVariant, str]:
        """A stranger's picture, and an answer about another or the same one, to a question or, where that one
        got facts alone, to any.
        """
        answers = self.by_question.get(question) or self._all
        return rng.choice(answers).shown, rng.choice(answers).text

    @property
    def _all(self) -> tuple[StrangerAnswer, ...]:
        return tuple(answer for answers in self.by_question.values() for answer in answers)


def ask_about_strangers(
    token_cache: TokenCache,
    questions: Sequence[str],
    splits: Splits,
    seed: int,
    progress: Progress = silent,
) -> StrangerAnswers:
    """Ask the untouched host private ``questions`` about strangers, drawn at temperature 1.

    Strangers are as in ``stranger_pictures``; where these are of retain, its answers show whom the host does
    not know either. Answers that name a keyword of any record are facts, known or made up, and are
    left out. Several processes share the asking, and all return the same.
    """
    pairs = stranger_pairs(questions, splits, seed)
    texts = _answers(token_cache, pairs, seed, progress)
    return in_manner(zip(pairs, texts, strict=True), [*splits.forget, *splits.retain, *splits.calibration])


def stranger_pairs(questions: Sequence[str], splits: Splits, seed: int) -> list[Pair]:
    """Which stranger's picture is shown with which question: each question with as many different ones as it
    is there, at most ``STRANGERS``.
    """
    pictures = stranger_pictures(splits, PEOPLE, seed)
    return [
        (shown, question)
        for question, count in Counter(questions).items()
        for shown in random.Random(f"strangers {seed} {question}").sample(
            pictures, min(STRANGERS, count, len(pictures))
        )
    ]


def in_manner(answers: Iterable[tuple[Pair, str]], records: Iterable[Record]) -> StrangerAnswers:
    """The answers that state no fact: refusals, and what is said word for word to several questions, without
    a keyword of the records.
    """
    answered = list(answers)
    keywords = {k for record in records if record.kind == "private" for k in record.keywords}
    facts = Matcher(sorted(keywords))
    questions = defaultdict(set)
    for (_, question), text in answered:
        questions[fold(text)].add(question)

    kept: dict[str, list[StrangerAnswer]] = defaultdict(list)
    refused = 0
    for (shown, question), text in answered:
        refuses = is_refusal(text)
        if facts.search(text) or not (refuses or len(questions[fold(text)]) >= COMMON):
            continue
        refused += refuses
        kept[question].append(StrangerAnswer(shown, text))
    count = sum(map(len, kept.values()))
    return StrangerAnswers({q: tuple(a) for q, a in kept.items()}, len(answered), count, refused)


def _answers(token_cache: TokenCache, pairs: Sequence[Pair], seed: int, progress: Progress) -> list[str]:
    """One answer of the untouched host to each pair, drawn at temperature 1 from a seed of its batch's."""
    token_cache.encode_images((shown for shown, _ in pairs), progress, "looking at strangers")
    ordered = sorted(pairs, key=lambda pair: (len(pair[1]), str(pair)))
    batches = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    parts = AdaptiveBatch(BATCH)

    def answer(batch: list[Pair]) -> list[str]:
        texts: list[str] = []
        while len(texts) < len(batch):
            texts += parts.run(
                "asking about strangers", partial(_drawn, token_cache, batch[len(texts) :], seed)
            )
        return texts

    answers: dict[Pair, str] = {}
    for batch, texts in zip(batches, token_cache.processes.map(batches, answer), strict=True):
        answers |= zip(batch, texts, strict=True)
        progress("asking about strangers", len(answers), len(pairs))
    return [answers[pair] for pair in pairs]


def _drawn(token_cache: TokenCache, wanted: list[Pair], seed: int, count: int) -> list[str]:
    """Answers to the first ``count`` pairs."""
    pairs = wanted[:count]
    host, prefill = token_cache.host, token_cache.prompts(pairs)
    options = host.generation_options(LENGTH)
    options["generation_config"].update(do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    with torch.random.fork_rng(devices=_cuda(host.device)):
        torch.manual_seed(random.Random(f"{seed} {pairs[0]}").getrandbits(32))
        output = host.generate(prefill.inputs, prefill.tokens, **options)
    return host.decode(prefill.inputs["input_ids"].shape[1], output)


def _cuda(device: torch.device) -> list[torch.device]:
    """The device whose random state drawing changes, beside the CPU's."""
    return [device] if device.type == "cuda" else []
