"""Whether a host knows what records say, and whether it can refuse about people whom it does not know: the
checks before anything is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cagul.data.records import Record, Splits
from cagul.data.strangers import ENOUGH_REFUSED, Pair, Strangers, for_checks, private_questions
from cagul.evaluation.ask import Question, ask
from cagul.evaluation.metrics.memorisation import WHERE
from cagul.evaluation.metrics.text_metrics import keyword_recall, rouge_l
from cagul.evaluation.questions import Sample, forget_items
from cagul.host.frozen import FrozenHost
from cagul.text.normal import fold
from cagul.text.refusals import is_refusal, refusal_is_known
from cagul.training.progress import Progress, silent

# sorts of questions by where they are asked
SORTS = {"image": WHERE["keyword_recall"], "paraphrase": WHERE["ape"], "view": WHERE["views"]}
HANDFUL = 16  # questions about strangers where a check is to take little time
ANSWER_TOKENS = 64  # of an answer about a stranger
NO_STRANGERS = "the records have no strangers' pictures, or no private questions"


def memorised(
    host: FrozenHost, records: list[Record], *, most: int = 256, seed: int = 0, progress: Progress = silent
) -> dict[str, dict[str, Any]]:
    """The share of private facts that the host says, by SORTS, over a seeded sample of at most ``most``
    questions of each.

    A fact counts by its keywords, or, without keywords, by ROUGE-L recall of its answer. A sort without
    questions is absent. Source: the check is ours.
    """
    sample = Sample(views=most, seed=seed)
    shares_by_sort: dict[str, dict[str, Any]] = {}
    items = forget_items(Splits(forget=records, retain=[]), sample)
    for sort in SORTS:
        chosen = sample.draw([item for item in items if item.sort == sort], most, sort)
        batches = ask(host, [item.asked for item in chosen], max_new_tokens=48)
        answers = {response.asked.key: response.text for batch in batches for response in batch}
        shares = [_share_said(answers[item.asked.key], item.record) for item in chosen]
        values = [share for share in shares if share is not None]
        if values:
            shares_by_sort[sort] = {"value": round(sum(values) / len(values), 4), "n": len(values)}
        progress("memorisation check", list(SORTS).index(sort) + 1, len(SORTS))
    return shares_by_sort


def _share_said(answer: str, record: Record) -> float | None:
    recall = keyword_recall(answer, record.keywords)
    return rouge_l(answer, record.answer) if recall is None else recall


@dataclass(frozen=True)
class RefusalCheck:
    """How a host answers private questions about people whom it does not know, by counts: refused, made up,
    and in words that nobody can judge.
    """

    refused: int
    made_up: int
    unjudged: int
    people: int
    source: str

    @property
    def asked(self) -> int:
        return self.refused + self.made_up + self.unjudged

    @property
    def verdict(self) -> Literal["refuses", "makes up facts", "cannot be judged", "not asked"]:
        """Whether the host can refuse: ENOUGH_REFUSED of its answers do; else it makes up facts, where those
        that may refuse are fewer.
        """
        if not self.asked:
            return "not asked"
        if self.refused / self.asked >= ENOUGH_REFUSED:
            return "refuses"
        return (
            "makes up facts"
            if (self.asked - self.made_up) / self.asked < ENOUGH_REFUSED
            else "cannot be judged"
        )

    def facts(self) -> dict[str, Any]:
        """Shares of the answers with their number, and the verdict; without an answer why there is none."""
        if not self.asked:
            return {"verdict": self.verdict, "absent": NO_STRANGERS, "n": 0}
        shares = {
            name: round(getattr(self, name) / self.asked, 4) for name in ("refused", "made_up", "unjudged")
        }
        return {
            "verdict": self.verdict,
            **shares,
            "n": self.asked,
            "people": self.people,
            "source": self.source,
        }


def check_refusals(
    host: FrozenHost,
    strangers: Strangers,
    questions: Sequence[str],
    *,
    most: int = HANDFUL,
    refusals: Sequence[str] = (),
    seed: int = 0,
) -> RefusalCheck:
    """Put ``most`` private questions to pictures of strangers, and count the answers. ``refusals`` count as
    such beside those that are known: a config's may be in any language.

    Source: the check is ours.
    """
    pairs = list(dict.fromkeys(strangers.pairs(questions, most, seed)))
    answers = answers_to(host, [pair for _, pair in pairs])
    judged = [_refuses(answers[pair], set(map(fold, refusals))) for _, pair in pairs]
    counts = (judged.count(True), judged.count(False), judged.count(None))
    return RefusalCheck(*counts, len({subject for subject, _ in pairs}), strangers.source)


def can_refuse(
    host: FrozenHost, records: Sequence[Record], *, unseen: bool = False, refusals: Sequence[str] = ()
) -> RefusalCheck:
    """Whether a host refuses about people whom it does not know, by a handful of the records' private
    questions; ``unseen`` allows to open pictures of that group.
    """
    strangers, questions = for_checks(records, unseen=unseen), private_questions(records)
    return check_refusals(host, strangers, questions, refusals=refusals)


def answers_to(host: FrozenHost, pairs: Sequence[Pair], *, whole: bool = False) -> dict[Pair, str]:
    """The host's answers to pictures with a question; where ``whole``, without those that are cut off."""
    asked = {str(number): pair for number, pair in enumerate(dict.fromkeys(pairs))}
    questions = [Question(key, picture, question) for key, (picture, question) in asked.items()]
    responses = [r for batch in ask(host, questions, max_new_tokens=ANSWER_TOKENS) for r in batch]
    return {asked[r.asked.key]: r.text for r in responses if not whole or len(r.tokens) < ANSWER_TOKENS}


def _refuses(answer: str, refusals: Collection[str]) -> bool | None:
    """Whether an answer refuses or is one of ``refusals``, folded; None where nobody can tell."""
    if fold(answer) in refusals or is_refusal(answer):
        return True
    return False if refusal_is_known(answer) else None
