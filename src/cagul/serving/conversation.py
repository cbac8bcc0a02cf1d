"""From the messages of a request to a host's conversation: roles, texts, pictures out of data URLs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any

from PIL import Image

from cagul.host.prompt_layout import turn_marks
from cagul.host.prompter import knows_system_turn
from cagul.serving.api import ChatMessage, ImagePart, TextPart
from cagul.serving.data_url import picture_of
from cagul.serving.options import Limits
from cagul.serving.refused import Refused

# for each token of the host's context: more than any prose has, and few enough to read a text at once
CHARACTERS = 16


class Rules:
    """What a host's conversations may hold: how much text its ``context`` (tokens) may take, whether its
    template has a system turn, and marks that no text may forge.
    """

    def __init__(self, prompter: Any, limits: Limits, context: int):
        self.limits, self.context = limits, context
        tokenizer = prompter.tokenizer
        marks = {*tokenizer.all_special_tokens, getattr(prompter.processor, "image_token", "<image>")}
        marks |= {str(token) for token in tokenizer.added_tokens_decoder.values()}
        self.marks = re.compile(any_of(mark for mark in marks if mark.strip()))
        turns = turn_marks(prompter.processor)
        self.answering = turns.generation if turns else ""
        self.system = knows_system_turn(prompter)

    def read(
        self, messages: list[ChatMessage], hold: Callable[[int], None] = lambda pixels: None
    ) -> tuple[list[dict], list[Image.Image]]:
        """The conversation for the host's template, and its pictures in order; ``hold`` is asked for room
        before each is opened.

        Raises Refused, as ``hold`` may.
        """
        self._check_turns(messages)
        self._check_length(messages)
        count = sum(isinstance(part, ImagePart) for message in messages for part in message.parts)
        if count > self.limits.images:
            raise Refused(
                422,
                "too_many_images",
                f"{count} pictures, more than the {self.limits.images} that are allowed.",
                "messages",
            )
        turns: list[dict] = []
        pictures: list[Image.Image] = []
        for number, message in enumerate(messages):
            content: list[dict] = []
            for place, part in enumerate(message.parts):
                where = f"messages.{number}.content.{place}"
                if isinstance(part, ImagePart):
                    if message.role != "user":
                        raise Refused(
                            422, "image_role", "Pictures belong into messages of the role user.", where
                        )
                    pictures.append(picture_of(part.url, self.limits.pixels, f"{where}.image_url.url", hold))
                    content.append({"type": "image"})
                else:
                    content.append({"type": "text", "text": part.text})
            self._check_marks(_texts(content), f"messages.{number}.content")
            turns.append({"role": _role(message), "content": content})
        return self._with_system(turns), pictures

    def moves_system(self, messages: list[ChatMessage]) -> bool:
        """Whether ``read`` puts a system message's text into a user's turn."""
        own = self._own_system([_role(message) for message in messages])
        texts = [
            part.text
            for message in messages[own:]
            for part in message.parts
            if _role(message) == "system" and isinstance(part, TextPart)
        ]
        return any(text.strip() for text in texts)

    def _own_system(self, roles: list[str]) -> int:
        """How many messages at the beginning are the template's system turn; 0 where it has none."""
        return sum(1 for _ in takewhile("system".__eq__, roles)) if self.system else 0

    def _with_system(self, turns: list[dict]) -> list[dict]:
        """The turns with every system text where the host's template takes one: those that stand first in its
        system turn, if it has one; any other before the text of the user's turn that follows, so that it is a
        part of that turn. Templates of families without a system turn do the same (Gemma's, Mistral's).

        Raises Refused where two texts make a mark together.
        """
        own = self._own_system([turn["role"] for turn in turns])
        placed = [_joined(turns[:own])] if own else []
        for turn in placed:
            self._check_marks(_texts(turn["content"]), "messages")
        system: list[str] = []
        for turn in turns[own:]:
            if turn["role"] == "system":
                text = "\n".join(_texts(turn["content"]))
                system += [text] if text.strip() else []
                continue
            if turn["role"] == "user" and system:
                turn = turn | {"content": _after("\n\n".join(system), turn["content"])}
                self._check_marks(_texts(turn["content"]), "messages")
                system = []
            placed.append(turn)
        return placed

    def _check_marks(self, texts: list[str], where: str) -> None:
        """No mark in a message's texts, nor one that they make when a template joins them, trimmed or not."""
        joined = ("".join(texts), "".join(text.strip() for text in texts))
        mark = next((match[0] for text in joined if (match := self.marks.search(text))), None)
        if mark is None and self.answering and self.answering in "".join(joined[0].split()):
            mark = self.answering  # in plain letters in some templates, such as LLaVA's ASSISTANT:
        if mark is not None:
            raise Refused(422, "special_token", f"A text holds {mark!r}, a mark of the host's own.", where)

    def _check_length(self, messages: list[ChatMessage]) -> None:
        """Before anything reads the texts: the tokenizer does it for one request at a time."""
        texts = [part.text for message in messages for part in message.parts if isinstance(part, TextPart)]
        if (length := sum(map(len, texts))) > (most := CHARACTERS * self.context):
            raise Refused(
                422,
                "context_length_exceeded",
                f"The texts have {length:,} characters, more than {most:,}: the host's "
                f"context holds {self.context:,} tokens.",
                "messages",
            )

    def _check_turns(self, messages: list[ChatMessage]) -> None:
        last = messages[-1]
        if last.role != "user":
            raise Refused(
                422,
                "last_role",
                "The last message must be the user's: the host does not go on from an answer's beginning.",
                f"messages.{len(messages) - 1}.role",
            )
        if not any(isinstance(part, ImagePart) or part.text.strip() for part in last.parts):
            raise Refused(422, "empty", "The last message is empty.", f"messages.{len(messages) - 1}.content")


def _role(message: ChatMessage) -> str:
    """The role for the template: developer is the newer name of system."""
    return "system" if message.role == "developer" else message.role


def _texts(content: list[dict]) -> list[str]:
    return [part["text"] for part in content if part["type"] == "text"]


def _joined(turns: list[dict]) -> dict:
    """Several system turns as one, a blank line between them."""
    content = list(turns[0]["content"])
    for turn in turns[1:]:
        content += [{"type": "text", "text": "\n\n"}, *turn["content"]]
    return turns[0] | {"content": content}


def _after(system: str, content: list[dict]) -> list[dict]:
    """A user's content with a text before its first one; pictures stay where they are."""
    place = next((n for n, part in enumerate(content) if part["type"] == "text"), len(content))
    text = content[place]["text"] if place < len(content) else ""
    return [
        *content[:place],
        {"type": "text", "text": f"{system}\n\n{text}" if text else system},
        *content[place + 1 :],
    ]


def any_of(texts: Iterable[str]) -> str:
    """A regular expression that finds any of ``texts`` (one or more, none empty; the shortest of those that
    begin alike).

    It branches letter by letter: thousands of alternatives side by side would each be tried wherever a "<"
    stands.
    """
    branches: dict[str, list[str]] = {}
    for text in sorted(texts):
        branches.setdefault(text[0], []).append(text[1:])
    patterns = [re.escape(head) + ("" if "" in rests else any_of(rests)) for head, rests in branches.items()]
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"
