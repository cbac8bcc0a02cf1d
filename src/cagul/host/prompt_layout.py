"""Where things are in a prompt: the visual columns, the question's rows, the turns. Ids in, positions out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cagul.errors import HostError

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
    """What the chat template writes before the first user's words, before a later user's and after them,
    without white space.

    ``opening`` is what the first two end with: before a user who speaks first after a system turn stands
    neither the head nor the end of an answer, with which a later user's mark may begin.
    """

    head: str
    user: str
    generation: str
    opening: str = ""


def turn_marks(processor: Any) -> TurnMarks | None:
    """Read the marks off the processor's own chat template; None without a template."""

    def message(role: str, text: str) -> dict:
        return {"role": role, "content": [{"type": "text", "text": text}]}

    first, reply, second = _SENTINELS
    turns = [message("user", first), message("assistant", reply), message("user", second)]
    try:
        text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        head = text.split(first, 1)[0]
        between = text.split(reply, 1)[1].split(second, 1)[0]
        after = text.split(second, 1)[1]
    except (ValueError, TypeError, IndexError, AttributeError):
        return None
    head, between, after = map(_squeeze, (head, between, after))
    special = "|".join(re.escape(token) for token in processor.tokenizer.all_special_tokens)
    pieces = [re.split(f"({special})", text)[::-1] for text in (head, between)]
    shared = [one for one, other in takewhile(lambda pair: pair[0] == pair[1], zip(*pieces, strict=False))]
    return TurnMarks(head, between, after, "".join(reversed(shared)))


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
    if (found := _last_user(text, marks))[0] >= 0:
        start = owner[sum(found)]
    if marks.generation and (at := text.rfind(marks.generation)) >= 0 and owner[at] > start:
        stop, last, after = owner[at], *owner[at + len(marks.generation) - 1 :][:2]
        end = max(last, after - 1) if after < len(ids) else end
    return start, stop, end


def _last_user(text: str, marks: TurnMarks) -> tuple[int, int]:
    """Where the mark before the last user's words is, -1 if there is none, and its length."""
    at = text.rfind(marks.user) if marks.user else -1
    if at >= 0 or marks.head in text or not marks.opening:
        return at, len(marks.user)
    return text.rfind(marks.opening), len(marks.opening)


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
    """
    hidden = torch.zeros(len(ids), dtype=torch.bool)
    text, owner = _decoded(ids, real, tokenizer)
    at, length = _last_user(text, marks) if marks is not None else (-1, 0)
    if marks is None or at < 0:
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
