"""Where things are in a prompt: the visual columns, the question's rows, the turns. Ids in, positions out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Bool, Int
from jinja2 import TemplateError
from torch import Tensor

from cagul.errors import GuardBypass, HostError

_SENTINELS = ("zqAlpha", "zqBeta", "zqGamma")


@dataclass(frozen=True)
class Span:
    """One image of a batch: the row of the batch it is in and the columns of its visual tokens."""

    row: int
    columns: Int[Tensor, " V"]


@dataclass(frozen=True)
class QuestionRows:
    """The rows of attention that count as the question; ``fallback`` when its text came before every image.
    ``end`` is the column of the prompt's last token, whose logits are of the answer's first.
    """

    rows: Int[Tensor, " Q"]
    fallback: bool
    end: int


@dataclass(frozen=True)
class TurnMarks:
    """What the chat template writes before the first user's words (``head``), before a later user's
    (``user``) and after a user's, where the host is to answer (``generation``); without white space.

    ``opening`` is what the first two end with. It stands before a user who speaks first after a system turn,
    and before a user who follows an answer that was cut short. ``user`` and ``opening`` are empty where the
    template does not render several turns, or writes nothing between them.
    """

    head: str
    user: str
    generation: str
    opening: str = ""


def turn_marks(processor: Any) -> TurnMarks | None:
    """Read the marks off the processor's own chat template.

    A template that does not render several turns, such as one that raises ``jinja2.TemplateError``, gives the
    marks of one turn. None if it does not render one either, or changes the words.
    """
    first, reply, second = _SENTINELS
    turns = [_message("user", first), _message("assistant", reply), _message("user", second)]
    text = _rendered(processor, turns)
    if all(text.count(word) == 1 for word in _SENTINELS):
        head, rest = text.split(first)
        between, after = rest.split(reply)[1].split(second)
    else:
        text = _rendered(processor, turns[:1])
        if text.count(first) != 1:
            return None
        (head, after), between = text.split(first), ""
    head, between, after = map(_squeeze, (head, between, after))
    special = "|".join(re.escape(token) for token in processor.tokenizer.all_special_tokens)
    pieces = [re.split(f"({special})", text)[::-1] for text in (head, between)]
    shared = [one for one, other in takewhile(lambda pair: pair[0] == pair[1], zip(*pieces, strict=False))]
    return TurnMarks(head, between, after, "".join(reversed(shared)))


def _message(role: str, text: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _rendered(processor: Any, turns: list[dict]) -> str:
    """The conversation as the chat template writes it; empty if the template does not take it."""
    try:
        return str(processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
    except (TemplateError, ValueError, TypeError, LookupError, AttributeError):
        return ""


def _squeeze(text: str) -> str:
    return "".join(text.split())


def visual_spans(ids: Int[Tensor, "B S"], image_token: int, counts: list[int]) -> list[Span]:
    """Deal the image placeholders of a batch, in reading order, to images of ``counts`` tokens.

    Raises HostError when placeholders and visual tokens differ in number, or an image would reach over two
    prompts.
    """
    where = (ids == image_token).nonzero()
    if len(where) != sum(counts):
        raise HostError(
            f"The prompts hold {len(where)} image placeholders, but the pictures give {sum(counts)} visual "
            "tokens.",
            "Use the host's own processor, with one <image> for each picture.",
            "placeholders",
        )
    spans, start = [], 0
    for number, count in enumerate(counts):
        part = where[start : start + count]
        if (part[:, 0] != part[0, 0]).any():
            raise HostError(
                f"Picture {number} would be spread over two prompts.",
                "Give as many pictures as the prompts have <image> marks.",
                "placeholders",
            )
        spans.append(Span(int(part[0, 0]), part[:, 1]))
        start += count
    return spans


def picture_counts(ids: Int[Tensor, "B S"], image_token: int, global_tile: int | None) -> list[int]:
    """How many visual tokens each picture has, where a host cuts pictures into tiles.

    A picture is a run of placeholders without a gap; with ``global_tile``, all runs up to and with the one
    after that token.

    Raises HostError when a prompt's last picture has no such run.
    """
    counts = []
    for row in ids.tolist():
        open_count = 0
        for position, token in enumerate(row):
            if token != image_token:
                continue
            open_count += 1
            ends = position + 1 == len(row) or row[position + 1] != image_token
            if ends and (global_tile is None or _before_run(row, position, image_token) == global_tile):
                counts.append(open_count)
                open_count = 0
        if open_count:
            raise HostError(
                f"{open_count} image placeholders belong to no picture: its last tile is missing.",
                "Use the host's own processor.",
                "placeholders",
            )
    return counts


def _before_run(row: list[int], position: int, image_token: int) -> int | None:
    """The token before the run of placeholders that ends at ``position``."""
    while position >= 0 and row[position] == image_token:
        position -= 1
    return row[position] if position >= 0 else None


def question_rows(
    ids: Int[Tensor, " S"],
    mask: Int[Tensor, " S"] | None,
    first_visual: int,
    tokenizer: Any,
    special: set[int],
    marks: TurnMarks | None,
    pictures: Sequence[Int[Tensor, " V"]] = (),
) -> QuestionRows:
    """Rows of the last user turn: its real text tokens after the first visual token, no padding, none of
    ``special``.

    What a processor writes between the tokens of one of ``pictures`` (columns), such as row marks, is no text
    either.

    A question before its image cannot attend to it; the last prompt token's row is used then, also where
    nothing but the template's white space follows the image. Source: method.md step 3; the rule for turns is
    ours.
    """
    length = len(ids)
    real = torch.ones(length, dtype=torch.bool) if mask is None else mask.bool().cpu()
    text = torch.tensor([int(i) not in special for i in ids]) & real
    for columns in pictures:
        text[int(columns[0]) : int(columns[-1]) + 1] = False
    rows = torch.arange(length)
    start, stop, end = 0, length, int(rows[real][-1])
    if marks is not None:
        start, stop, end = _last_turn(ids, real, tokenizer, marks)
    chosen = rows[text & (rows > first_visual) & (rows >= start) & (rows < stop)]
    if any(_squeeze(tokenizer.decode([int(i)])) for i in ids[chosen]):
        return QuestionRows(chosen, False, end)
    return QuestionRows(rows[end : end + 1], True, end)


def _last_turn(ids: Tensor, real: Tensor, tokenizer: Any, marks: TurnMarks) -> tuple[int, int, int]:
    """Token range of the last user turn's words, and the prompt's last token: the generation mark's, white
    space after it too.
    """
    text, owner = _decoded(ids, real, tokenizer)
    start, stop, end = 0, len(ids), int(real.nonzero()[-1])
    if (place := _last_user(text, marks))[0] >= 0:
        start = owner[sum(place)]
    if marks.generation and (at := text.rfind(marks.generation)) >= 0 and owner[at] > start:
        stop, last, after = owner[at], *owner[at + len(marks.generation) - 1 :][:2]
        end = max(last, after - 1) if after < len(ids) else end
    return start, stop, end


def _last_user(text: str, marks: TurnMarks) -> tuple[int, int]:
    """Where the mark before the last user's words is, and its length; -1 and 0 if there is none."""
    at, mark = (text.rfind(marks.user), marks.user) if marks.user else (-1, "")
    if marks.opening and marks.generation:
        # a later user's mark may begin with the end of an answer, which one that was cut short lacks
        answer = text.find(marks.generation, max(0, at))
        later = text.rfind(marks.opening, answer + len(marks.generation)) if answer >= 0 else -1
        if later >= 0:
            return later, len(marks.opening)
    if at < 0 and marks.head:
        at, mark = text.find(marks.head), marks.head
    if at < 0 and marks.opening:
        at, mark = text.rfind(marks.opening), marks.opening
    return (at, len(mark)) if at >= 0 else (-1, 0)


def _require_one_turn(text: str, marks: TurnMarks | None) -> None:
    """Raises GuardBypass unless ``text``, what is left of a prompt from its last user turn on, is surely one
    turn.

    It is one where the host is to answer once at most; where the template does not tell a later user's mark,
    nothing may follow the place for that answer either. Without any marks this is not known.
    """
    remedy = "Write the prompt with the host's chat template, or ask one question without earlier turns."
    if marks is None or not (marks.user or marks.generation):
        raise GuardBypass(
            "A picture fires, but the host's chat template shows no marks of turns, so its prompt of "
            f"{len(text)} characters may hold several.",
            "Give the processor a chat template that renders a user's turn and a place for the answer.",
            "turns",
        )
    answers = text.count(marks.generation) if marks.generation else 0
    if answers > 1:
        raise GuardBypass(
            f"A picture fires, but its last user turn cannot be separated from the earlier ones: the "
            f"prompt asks for {answers} answers.",
            remedy,
            "turns",
        )
    if not marks.user and not (answers == 1 and text.endswith(marks.generation)):
        raise GuardBypass(
            f"A picture fires, but its prompt asks for {answers} answers and does not end there, and the "
            "host's chat template does not tell where a later turn begins.",
            remedy,
            "turns",
        )


def _decoded(ids: Tensor, real: Tensor, tokenizer: Any) -> tuple[str, list[int]]:
    """The text without white space, and which token each character is of: so merges at the borders of turns
    do not matter.
    """
    # placeholders are many, and one id
    pieces = {int(i): _squeeze(tokenizer.decode([int(i)])) for i in ids.unique()}
    read = [(position, pieces[int(ids[position])]) for position in torch.arange(len(ids))[real].tolist()]
    owner = [position for position, piece in read for _ in piece]
    return "".join(piece for _, piece in read), [*owner, len(ids)]


def earlier_turns(
    ids: Int[Tensor, " S"],
    real: Bool[Tensor, " S"],
    tokenizer: Any,
    special: set[int],
    marks: TurnMarks | None,
    pictures: Sequence[Int[Tensor, " V"]],
) -> Bool[Tensor, " S"]:
    """What was said before the last user turn: all from the template's head to that turn's words, but
    ``pictures`` (columns) and the host's own marks and white space beside them. Without it the prompt is one
    turn with all the pictures. Source: ours.

    Raises GuardBypass where the last turn is not found: no mark of a user stands in the prompt, or what is
    left may still hold several turns (see ``_require_one_turn``).
    """
    hidden = torch.zeros(len(ids), dtype=torch.bool)
    text, owner = _decoded(ids, real, tokenizer)
    at, length = _last_user(text, marks) if marks is not None else (-1, 0)
    _require_one_turn(text[max(0, at) + length :], marks)
    if marks is None or at < 0:
        if marks is None or marks.head:
            raise GuardBypass(
                f"A picture fires, but none of the chat template's marks of a user stands in its prompt of "
                f"{len(text)} characters, so earlier turns cannot be separated from the question.",
                "Write the prompt with the host's chat template.",
                "turns",
            )
        return hidden
    head = text.find(marks.head)
    # the tokenizer may set a mark before it
    if head >= 0 and all(int(ids[position]) in special for position in owner[:head]):
        hidden[owner[head + len(marks.head)] : owner[at + length]] = True
    else:  # a system turn stands first: the user's mark stays in the head's place
        begins = owner[0] + (int(ids[owner[0]]) == tokenizer.bos_token_id)
        hidden[begins : owner[at]] = True

    def beside(position: int) -> bool:
        return int(ids[position]) in special or not _squeeze(tokenizer.decode([int(ids[position])]))

    for columns in pictures:
        first, last = int(columns[0]), int(columns[-1])
        while first and beside(first - 1):
            first -= 1
        while last + 1 < len(ids) and beside(last + 1):
            last += 1
        hidden[first : last + 1] = False
    return hidden & real


def hide(inputs: dict[str, Any], hidden: Bool[Tensor, "B S"] | None, length: int) -> None:
    """Take ``hidden`` out of the attention mask (B, ``length``) of ``inputs``, or out of a new one; nothing
    if nothing is.
    """
    if hidden is None or not bool(hidden.any()):
        return
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    mask = torch.ones(len(ids), length, dtype=torch.long, device=ids.device) if mask is None else mask.clone()
    mask[:, : hidden.shape[1]] *= ~hidden.to(mask.device)
    inputs["attention_mask"] = mask
