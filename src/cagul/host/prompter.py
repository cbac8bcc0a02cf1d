"""From records to model inputs: prompts by the processor's chat template, ids, labels, left padding."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from cagul.errors import DataError, HostError, reason
from cagul.host.families import Family


@dataclass(frozen=True)
class Encoded:
    """A prompt as ids, with the token types of a family that has them and what its language model reads by
    picture.
    """

    ids: list[int]
    token_types: dict[str, list[int]]
    by_picture: dict[str, Tensor]


class Prompter:
    """Renders questions with a host's own processor and remembers the ids.

    How many placeholders a picture takes depends on its size alone, so ids are kept by (question, size). An
    ``instruction`` is put before every question, in the user's own turn: not every chat template has a
    system's.
    """

    def __init__(self, processor: Any, family: Family, name: str = "host", instruction: str = ""):
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise HostError(
                f"The processor of {name} does not process pictures and text.",
                "Save the host's own processor beside it.",
                "host-load",
            )
        self.processor = left_padding(with_chat_template(processor, name))
        self.tokenizer = self.processor.tokenizer
        self.family, self.instruction = family, instruction
        self._encoded: dict[tuple[str, tuple[int, int]], Encoded] = {}
        self._answers: dict[tuple[str, str], list[int]] = {}
        self._require_pictures(name)

    def _require_pictures(self, name: str) -> None:
        """Raises HostError (chat-template) for a template that renders one question about pictures otherwise
        than with its words once and a mark for each picture. A template for texts alone is such a one.
        """
        for count in (0, 1, 2):
            prompt = self.prompt(_QUESTION, count)
            marks = prompt.count(self.processor.image_token)
            if prompt.count(_QUESTION) != 1 or marks != count:
                raise HostError(
                    f"The chat template of {name} renders a question about {count} picture(s) with {marks} "
                    f"image mark(s) and the question {prompt.count(_QUESTION)} time(s).",
                    "Save a chat template with its processor that takes a list of parts, images and texts.",
                    "chat-template",
                )

    def conversation(self, messages: list[dict], *, answering: bool = True) -> str:
        """A conversation as text; with ``answering`` up to where the host would speak.

        Raises HostError (chat-template) when the template does not take it.
        """
        try:
            text = self.processor.apply_chat_template(
                messages, add_generation_prompt=answering, tokenize=False
            )
        except Exception as error:  # templates raise what they like
            raise HostError(
                f"The chat template does not take this conversation: {reason(error)}.",
                "Save a chat template with the host's processor that takes a list of parts, images and "
                "texts.",
                "chat-template",
            ) from error
        return str(text)

    def prompt(self, question: str, images: int = 1, turns: Sequence[tuple[str, str]] = ()) -> str:
        """A question after ``images`` pictures: one user turn, or the last one after ``turns``, which are
        earlier questions with their answers; the pictures are then in the first.
        """
        messages: list[dict] = []
        for earlier, answer in turns:
            messages += [self._user(earlier, 0 if messages else images), _reply(answer)]
        return self.conversation([*messages, self._user(question, 0 if messages else images)])

    def inputs(self, prompts: list[str], pictures: list[Image.Image]) -> dict[str, Tensor]:
        """Left-padded inputs for prompts that hold one image mark for each picture, in order.

        Raises DataError when marks and pictures differ in number, or the processor takes no picture of such a
        size.
        """
        if pictures:
            dealt = self._deal(prompts, pictures)
            try:
                inputs = dict(self.processor(text=prompts, images=dealt, padding=True, return_tensors="pt"))
            except ValueError as error:  # such as Qwen's of a strip 200 times as long as wide
                sizes = ", ".join(f"{one.width} x {one.height}" for one in pictures[:8])
                raise DataError(
                    f"The host's processor does not take the picture(s) of {sizes} pixels: {reason(error)}.",
                    "Cut or scale it to a more usual shape.",
                    "picture",
                ) from error
        else:  # some processors refuse text without a picture
            inputs = dict(
                self.tokenizer(prompts, padding=True, return_tensors="pt", return_token_type_ids=False)
            )
            inputs |= {name: torch.zeros_like(inputs["input_ids"]) for name in self.family.token_types}
        return {key: value for key, value in inputs.items() if key != "labels"}

    def _deal(self, prompts: list[str], pictures: list[Image.Image]) -> list[list[Image.Image]]:
        """Pictures by prompt, as its image marks say. Raises DataError when their numbers differ."""
        wanted = [prompt.count(self.processor.image_token) for prompt in prompts]
        if sum(wanted) != len(pictures):
            raise DataError(
                f"The prompts hold {sum(wanted)} image marks, but {len(pictures)} picture(s) were given.",
                "Give one picture for each mark.",
                "placeholders",
            )
        rest = iter(pictures)
        return [[next(rest) for _ in range(count)] for count in wanted]

    def encode(self, question: str, size: tuple[int, int]) -> Encoded:
        """A question about one picture of ``size`` (width, height) pixels, without the picture."""
        key = (question, size)
        if key not in self._encoded:
            inputs = self.inputs([self.prompt(question)], [Image.new("RGB", size)])
            ids = inputs.pop("input_ids")
            types = {name: inputs[name][0].tolist() for name in self.family.token_types}
            by_picture = {name: inputs[name] for name in self.family.picture_keys if name in inputs}
            self._encoded[key] = Encoded(ids[0].tolist(), types, by_picture)
        return self._encoded[key]

    def answer_ids(self, question: str, answer: str) -> list[int]:
        """Ids that the host would have to say: the template's own rendering of the answer, its end mark
        included.

        Where ids of prompt and answer merge at their border, those of the answer alone: generation goes on
        from the prompt's own ids. Raises HostError for a template that renders an answered question otherwise
        than the question and then the answer: what the host would have to say is unknown then.
        """
        key = (question, answer)
        if key not in self._answers:
            before = self.prompt(question, 0)
            whole = self.conversation([self._user(question, 0), _reply(answer)], answering=False)
            if not whole.startswith(before):
                raise HostError(
                    f"The chat template writes {before[-40:]!r} where the host is to answer, but not before "
                    "an answer that is given.",
                    "Save a chat template whose generation prompt begins every assistant's turn.",
                    "chat-template",
                )
            start, full = (self._text_ids(text) for text in (before, whole))
            apart = full[: len(start)] == start
            ids = full[len(start) :] if apart else self._text_ids(whole[len(before) :])
            eos = self.tokenizer.eos_token_id  # what a template writes after it is not part of the answer
            self._answers[key] = [*ids[: ids.index(eos)], eos] if eos in ids else [*ids, eos]
        return self._answers[key]

    def _text_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def batch(
        self, prompts: list[Encoded], answers: list[list[int]]
    ) -> tuple[dict[str, Tensor], Int[Tensor, "B T"]]:
        """Prompt and answer side by side, left-padded, so that all answers end in the last column.

        The labels (B, T) belong to the last T positions but one: ``logits[:, t]`` of the T kept predicts
        ``labels[:, t]``.
        """
        rows = [p.ids + a for p, a in zip(prompts, answers, strict=True)]
        length, longest = max(map(len, rows)), max(map(len, answers))
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        labels = torch.full((len(rows), longest), -100)
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            ids[i, length - len(row) :] = torch.tensor(row)
            mask[i, length - len(row) :] = 1
            labels[i, longest - len(answer) :] = torch.tensor(answer)
        inputs = {"input_ids": ids, "attention_mask": mask}
        for name, value in self.family.token_types.items():
            inputs[name] = torch.zeros_like(ids)
            for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
                types = prompt.token_types[name] + [value] * len(answer)
                inputs[name][i, length - len(types) :] = torch.tensor(types)
        for name in self.family.picture_keys:
            given = [prompt.by_picture[name] for prompt in prompts if name in prompt.by_picture]
            if given:
                inputs[name] = torch.cat(given)
        return inputs, labels

    def check_length(self, question: str, answer: str, size: tuple[int, int], limit: int, where: str) -> None:
        """Raises DataError when a record does not fit into the host's context of ``limit`` tokens."""
        length = len(self.encode(question, size).ids) + len(self.answer_ids(question, answer))
        if length > limit:
            raise DataError(
                f"{where} takes {length} tokens, but the host's context holds {limit}.",
                "Shorten its question or answer.",
                "too-long",
            )

    def _user(self, question: str, images: int) -> dict:
        text = f"{self.instruction} {question}" if self.instruction else question
        return {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


def knows_system_turn(prompter: Any) -> bool:
    """Whether the chat template shows a system turn, as something else than a user's, an assistant's or a
    made-up role's.
    """

    def shown(role: str) -> str | None:
        turns = [
            {"role": role, "content": [{"type": "text", "text": "zqAlpha"}]},
            {"role": "user", "content": [{"type": "text", "text": "zqBeta"}]},
        ]
        try:
            return str(prompter.conversation(turns))
        except Exception:  # noqa: BLE001 - templates raise what they like
            return None

    turn = shown("system")
    return turn is not None and "zqAlpha" in turn and turn not in map(shown, ("user", "assistant", "zqRole"))


_QUESTION = "What does zqAlpha show?"  # words that no template has


def _reply(answer: str) -> dict:
    return {"role": "assistant", "content": [{"type": "text", "text": answer}]}


def with_chat_template(processor: Any, name: str) -> Any:
    """The processor itself if it has a chat template; else a copy with its tokenizer's. The caller's own is
    left as it is.

    Raises HostError (chat-template) where neither has one, or several and none is the default.
    """
    template = getattr(processor, "chat_template", None)
    if template is None or template == "" or template == {}:
        template = getattr(processor.tokenizer, "chat_template", None)
        if template:
            processor = copy.copy(processor)
            processor.chat_template = template
    if not template:
        raise HostError(
            f"The processor of {name} has no chat template.",
            "Save a chat template with its processor.",
            "chat-template",
        )
    if isinstance(template, dict) and "default" not in template:
        raise HostError(
            f"The processor of {name} has the chat templates {', '.join(sorted(template))}, and none is "
            "the default.",
            "Save the one that is meant as chat_template.jinja.",
            "chat-template",
        )
    return processor


def left_padding(processor: Any) -> Any:
    """The processor itself if its tokenizer pads on the left and has a pad token; else a copy that does, with
    the end token as pad token where there is none. The caller's own is left as it is.
    """
    if processor.tokenizer.padding_side == "left" and processor.tokenizer.pad_token_id is not None:
        return processor
    own = copy.copy(processor)
    own.tokenizer = copy.deepcopy(processor.tokenizer)
    own.tokenizer.padding_side = "left"
    if own.tokenizer.pad_token_id is None:
        own.tokenizer.pad_token = own.tokenizer.eos_token
    return own
