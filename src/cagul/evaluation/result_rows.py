"""The rows of rows.jsonl: what each kind holds, and how they are written and read. No torch here.

The first line of the file is ``HEADER``. Every other line is one row: a JSON object with a unique ``key`` and
the ``method`` that it is of. A key is a prefix, a slash, and a question that has the same text for every
method (``question_key``).

=================== ================ =========================================================================
``method``          row              is
=================== ================ =========================================================================
NAME                AnswerRow        an answer of the host ("host") or of a method ("cagul", "gd", ...)
NAME:text_only      AnswerRow        an answer to a question without a picture
NAME:named          AnswerRow        an answer to a question that names the person (evaluation/naming.py)
NAME:pure_text      AnswerRow        an answer to a benchmark's question without a picture
NAME:benign         AnswerRow        an answer to a benign prompt that names the person (evaluation/benign.py)
NAME:words          AnswerRow        an answer to a question in other words (data/wordings.py)
NAME:edits          AnswerRow        an answer about an edited picture (data/edits.py)
NAME:forced         AnswerRow        an answer with the gate forced to fire
NAME:attack         AttackRow        an answer to an attack of a comparison (evaluation/attacks)
NAME:likelihood     LikelihoodRow    token likelihoods of a fact's answers
gate, NAME:gate     GateRow          the gate's score of a picture
importance          ImportanceRow    importance of the visual tokens by layer
wording             WordingRow       why a kind of wording has no question
naming              NamingRow        why a way of naming the person was not asked
edit                EditRow          why no question about an edited picture was asked
prompt              PromptRow        whether the guard answers as the host does without a picture
silence             SilenceRow       the largest logit difference where the gate is silent
cost                CostRow          milliseconds of a query
=================== ================ =========================================================================

To read a file: ``read_rows``. Then ``RowTable(rows).answers("host")`` and so on; every reader raises RowError
for a row that lacks a field of its kind. To write them: the functions that end in ``_row``, then
``Rows.append`` of run_folder.py.
"""

# Annotations are evaluated here: a TypedDict reads NotRequired from objects, not from texts.
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar, cast

from cagul.data.grouping import group_by
from cagul.errors import DataError, reason
from cagul.files import parse_json

HEADER = {"_": "This file holds private answers of the forget set. Keep it to yourself."}
AGAIN = "Run it again into an empty folder."
HOST, RETAIN_HOST = "host", "retain_host"
# what a method ends in
LIKELIHOOD, TEXT_ONLY, WORDS, FORCED, GATE = ":likelihood", ":text_only", ":words", ":forced", ":gate"
EDITS, NAMED, ATTACK = ":edits", ":named", ":attack"
PURE_TEXT, BENIGN = ":pure_text", ":benign"
RETRAIN = "retrain"  # the method of a comparison that never knew what is to be forgotten
SHARED_GATE, IMPORTANCE, PROMPT, SILENCE, COST = "gate", "importance", "prompt", "silence", "cost"
WORDING, EDIT, NAMING = "wording", "edit", "naming"
NAME_PROBE = "name probe"  # in ``fired_by``: the part of a gate that asks the host who is shown

Item = TypeVar("Item")
Shape = TypeVar("Shape")


class Row(TypedDict):
    """What every row holds."""

    key: str
    method: str


class TrialFields(TypedDict, total=False):
    """What rows of a comparison hold besides: the seed, and the point of the search space."""

    seed: int
    point: str


class FilteredFields(TypedDict, total=False):
    """What rows hold besides where the guard has an output filter: whether it withholds ``output``, what is
    said in its place (the same where it does not), and the recall of that.
    """

    withheld: bool
    output_filtered: str
    recall_filtered: float | None


class AnswerRow(Row, TrialFields, FilteredFields):
    """One answer to one question. ``fired`` and what follows is None or empty where no gate was asked.
    ``fired_by`` is the part of the gate that fired; rows of before have none.
    ``refused`` is None where nobody can judge: in a language whose refusals are not known.

    ``sort`` is image, paraphrase, view or visual; named, told or bare without a picture; image, stranger or
    text where the person is named; the task of a benchmark's question without a picture; the kind of wording
    in other words; the edit's name. ``view`` is near, far or empty.
    """

    split: str
    sort: str
    kind: str
    subject: str
    view: str
    tokens: Sequence[int]
    recall: float | None
    rouge_l: float | None
    refused: bool | None
    fired: bool | None
    fired_by: NotRequired[str]
    score: NotRequired[float | None]
    picture: NotRequired[str]
    question: NotRequired[str]
    answer: NotRequired[str]
    keywords: NotRequired[Sequence[str]]
    output: NotRequired[str]
    chosen: NotRequired[Sequence[int]]
    visual_tokens: NotRequired[int | None]


class AttackRow(Row):
    """One answer to one query of an attack, or the rank of the truth among answers that it scored.

    ``number`` counts the queries about a fact from 1. ``told`` says whether the answer tells the fact;
    ``states_truth`` and ``affirmed`` are of questions by yes or no alone.
    """

    split: str
    attack: str
    access: str
    subject: str
    answer: str
    number: int
    told: bool
    fired: bool | None
    seconds: float
    states_truth: NotRequired[bool | None]
    affirmed: NotRequired[bool | None]
    refused: NotRequired[bool | None]
    broken: NotRequired[bool]
    output: NotRequired[str]


class LikelihoodRow(Row, TrialFields):
    """Negative log-likelihoods of the tokens of a fact's answers; of the true one also mean and deviation of
    the log-likelihood over the vocabulary at each position.
    """

    split: str
    kind: str
    subject: str
    answer: str
    nll: Sequence[float]
    mean: Sequence[float]
    deviation: Sequence[float]
    paraphrased_nll: Sequence[float]
    perturbed_nll: Sequence[Sequence[float]]
    picture: NotRequired[str]
    question: NotRequired[str]
    fired: NotRequired[bool | None]


class GateRow(Row):
    """The gate's score of one picture, and the part of the gate that fired."""

    split: str
    subject: str
    view: str
    score: float
    fired: bool
    fired_by: NotRequired[str]
    picture: NotRequired[str]


class ImportanceRow(Row):
    """Importance of the visual tokens (V) for one question, by layer number."""

    split: str
    sort: str
    kind: str
    subject: str
    picture: str
    question: str
    layers: dict[str, list[float]]


class WordingRow(Row):
    """Why no question of a kind of wording could be asked."""

    sort: str
    absent: str


class NamingRow(Row):
    """Why questions that name the person could not be asked in one way."""

    sort: str
    absent: str


class EditRow(Row):
    """Why no question about edited pictures of the forget set could be asked."""

    absent: str


class PromptRow(Row):
    """Whether the guard's tokens are the host's for a question without a picture."""

    subject: str
    identical: bool


class SilenceRow(Row):
    """The largest logit difference between guard and host on ``rows`` pictures where the gate is silent; None
    where it fired on all.
    """

    subject: str
    rows: int
    difference: float | None


class CostRow(Row):
    """Median milliseconds of one query: the host, a silent gate, a fired gate; or why there are none."""

    subject: str
    host: NotRequired[float]
    silent: NotRequired[float]
    fired: NotRequired[float]
    absent: NotRequired[str]


class RowError(DataError):
    """A row lacks a field that its figures are made of, such as a row that an older cagul wrote.

    Attributes:
        field: the missing field.
    """

    def __init__(self, row: Mapping[str, Any], field: str):
        super().__init__(
            f"The row {row.get('key', '')!r} has no field {field!r}.",
            AGAIN,
            "run",
        )
        self.field = field


def by_seed(rows: Iterable[Item]) -> dict[int | None, list[Item]]:
    """Rows by their seed; None where they have none."""
    return group_by(rows, lambda row: cast(Mapping[str, Any], row).get("seed"))


def question_key(row: Mapping[str, Any]) -> str:
    """The key without its prefix: the same for every method's row of one question."""
    return str(row["key"]).partition("/")[2]


class RowTable:
    """Rows by method, each kind with its own type.

    Every reader returns an empty list where there are no rows. It raises RowError for a row that lacks a
    field.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        self.by_method = group_by(rows, lambda row: str(row["method"]))

    def answers(self, method: str) -> list[AnswerRow]:
        return self._typed(method, AnswerRow)

    def text_only(self, method: str) -> list[AnswerRow]:
        return self._typed(method + TEXT_ONLY, AnswerRow)

    def named(self, method: str) -> dict[str, list[AnswerRow]]:
        """Answers to questions that name the person by split."""
        return group_by(self._typed(method + NAMED, AnswerRow), lambda row: row["split"])

    def pure_text(self, method: str) -> dict[str, list[AnswerRow]]:
        """Answers to benchmarks' questions without a picture by split."""
        return group_by(self._typed(method + PURE_TEXT, AnswerRow), lambda row: row["split"])

    def benign(self, method: str) -> list[AnswerRow]:
        return self._typed(method + BENIGN, AnswerRow)

    def absent_namings(self) -> dict[str, str]:
        """The reason of every way of naming the person in which nothing was asked."""
        return {row["sort"]: row["absent"] for row in self._typed(NAMING, NamingRow)}

    def words(self, method: str) -> list[AnswerRow]:
        return self._typed(method + WORDS, AnswerRow)

    def absent_wordings(self) -> dict[str, str]:
        """The reason of every kind of wording that has no question."""
        return {row["sort"]: row["absent"] for row in self._typed(WORDING, WordingRow)}

    def edits(self, method: str) -> dict[str, list[AnswerRow]]:
        """Answers about edited pictures by split."""
        return group_by(self._typed(method + EDITS, AnswerRow), lambda row: row["split"])

    def absent_edits(self) -> str:
        """Why none were asked about the forget set's; empty where they were."""
        return next((row["absent"] for row in self._typed(EDIT, EditRow)), "")

    def attacks(self, method: str) -> list[AttackRow]:
        return self._typed(method + ATTACK, AttackRow)

    def forced(self, method: str) -> list[AnswerRow]:
        return self._typed(method + FORCED, AnswerRow)

    def likelihoods(self, method: str) -> list[LikelihoodRow]:
        return self._typed(method + LIKELIHOOD, LikelihoodRow)

    def gate_scores(self, method: str) -> list[GateRow]:
        """The method's own scores; those of the run's one gate where it has none."""
        own = method + GATE
        return self._typed(own if own in self.by_method else SHARED_GATE, GateRow)

    def importance(self) -> list[ImportanceRow]:
        return self._typed(IMPORTANCE, ImportanceRow)

    def prompts(self) -> list[PromptRow]:
        """A guardrail may be named prompt too: its rows are answers and are left out."""
        rows = [row for row in self.by_method.get(PROMPT, []) if "identical" in row]
        return _checked(rows, PromptRow)

    def silences(self) -> list[SilenceRow]:
        return self._typed(SILENCE, SilenceRow)

    def costs(self) -> list[CostRow]:
        return self._typed(COST, CostRow)

    def answers_by_question(self, method: str) -> dict[str, AnswerRow]:
        return {question_key(row): row for row in self.answers(method)}

    def _typed(self, method: str, shape: type[Shape]) -> list[Shape]:
        return _checked(self.by_method.get(method, []), shape)


def _checked(rows: Sequence[Mapping[str, Any]], shape: type[Shape]) -> list[Shape]:
    required: frozenset[str] = shape.__required_keys__  # type: ignore[attr-defined]
    for row in rows:
        if missing := required - row.keys():
            raise RowError(row, min(missing))
    return cast(list[Shape], list(rows))


def gate_row(
    prefix: str,
    split: str,
    subject: str,
    picture: Path,
    view: str,
    score: float,
    threshold: float,
    fired_by: str = "",
) -> GateRow:
    """The gate's score of one picture; it fires above ``threshold``, or by the part ``fired_by``."""
    return {
        "key": gate_key(prefix, split, picture),
        "method": prefix,
        "split": split,
        "subject": subject,
        "picture": str(picture),
        "view": view,
        "score": score,
        "fired": score > threshold or bool(fired_by),
        "fired_by": fired_by or ("input gate" if score > threshold else ""),
    }


def is_false_alarm(row: Mapping[str, Any]) -> bool:
    """Whether a gate takes somebody for a forgotten person who is none; one whom the host itself says to be
    such a person is counted apart.
    """
    return bool(row["fired"]) and not is_named(row)


def is_named(row: Mapping[str, Any]) -> bool:
    """Whether the host itself says that the picture shows a forgotten person, and the gate fires by that."""
    return row.get("fired_by") == NAME_PROBE


def gate_key(prefix: str, split: str, picture: Path) -> str:
    return f"{prefix}/{split}/{picture}"


def importance_key(question: str) -> str:
    return f"{IMPORTANCE}/{question}"


def wording_row(kind: str, reason: str) -> WordingRow:
    return {"key": wording_key(kind), "method": WORDING, "sort": kind, "absent": reason}


def wording_key(kind: str) -> str:
    return f"{WORDING}/{kind}"


def naming_row(way: str, reason: str) -> NamingRow:
    return {"key": naming_key(way), "method": NAMING, "sort": way, "absent": reason}


def naming_key(way: str) -> str:
    return f"{NAMING}/{way}"


def edit_row(reason: str) -> EditRow:
    return {"key": EDIT, "method": EDIT, "absent": reason}


def prompt_row(number: int, identical: bool) -> PromptRow:
    return {
        "key": prompt_key(number),
        "method": PROMPT,
        "subject": f"prompt {number}",
        "identical": identical,
    }


def prompt_key(number: int) -> str:
    return f"{PROMPT}/{number}"


def silence_row(rows: int, difference: float | None) -> SilenceRow:
    return {"key": SILENCE, "method": SILENCE, "subject": "", "rows": rows, "difference": difference}


def cost_row(host: float, silent: float, fired: float) -> CostRow:
    """Milliseconds of one query."""
    return {"key": COST, "method": COST, "subject": "", "host": host, "silent": silent, "fired": fired}


def absent_cost_row(reason: str) -> CostRow:
    return {"key": COST, "method": COST, "subject": "", "absent": reason}


def dump_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as lines of JSON, the last one ended too."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def parse_row(line: bytes, *, non_finite: bool = False) -> dict[str, Any] | None:
    """The row of one line, None for the header. Raises ValueError for a line that is cut off, is not JSON
    (as ``files.parse_json`` reads it), or is no row.
    """
    try:
        row = parse_json(line.decode(), non_finite=non_finite)
    except ValueError as error:
        raise ValueError(f"is cut off or not JSON ({reason(error)})") from None
    if isinstance(row, dict) and row.keys() == HEADER.keys():
        return None
    if not isinstance(row, dict) or not isinstance(row.get("key"), str):
        raise ValueError("is no row")
    return row


def parse_rows(data: bytes, source: str | Path) -> dict[int, dict[str, Any]]:
    """Rows by the number of their line, in the order in which their keys come first; of rows of one key the
    last one holds. Blank lines and the header are left out.

    Raises DataError, with ``source`` and the line, for the first line that ``parse_row`` refuses.
    """
    rows: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                row = parse_row(line)
            except ValueError as error:
                raise DataError(f"{source} line {number} {error}.", AGAIN, "run") from None
            if row is not None:
                rows[row["key"]] = (number, row)
    return dict(rows.values())


def read_rows(path: Path) -> dict[int, dict[str, Any]]:
    """The rows of a finished file, as ``parse_rows`` returns them. Raises DataError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {reason(error)}.", AGAIN, "run") from None
    return parse_rows(data, path)
