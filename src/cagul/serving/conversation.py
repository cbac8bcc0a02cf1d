"""From the messages of a request to a host's conversation: roles, texts, pictures out of data URLs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from PIL import Image

from cagul.host.prompt_layout import turn_marks
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
        self.system = _knows_system(prompter)

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
            self._check_marks(
                [part["text"] for part in content if part["type"] == "text"], f"messages.{number}.content"
            )
            turns.append(
                {"role": "system" if message.role == "developer" else message.role, "content": content}
            )
        return turns, pictures

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
        for number, message in enumerate(messages):
            if message.role in ("system", "developer") and not (self.system and number == 0):
                reason = (
                    "only the first message may have it"
                    if self.system
                    else "the host's chat template has no such turn"
                )
                raise Refused(
                    422,
                    "role",
                    f"The role {message.role} is not supported here: {reason}.",
                    f"messages.{number}.role",
                )
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


def _knows_system(prompter: Any) -> bool:
    """Whether the template shows a system turn, as something else than a user's, an assistant's or a made-up
    role's.
    """

    def shown(role: str) -> str | None:
        turns = [
            {"role": role, "content": [{"type": "text", "text": "zqAlpha"}]},
            {"role": "user", "content": [{"type": "text", "text": "zqBeta"}]},
        ]
        try:
            return prompter.conversation(turns)
        except Exception:  # noqa: BLE001 - templates raise what they like
            return None

    turn = shown("system")
    return turn is not None and "zqAlpha" in turn and turn not in map(shown, ("user", "assistant", "zqRole"))
