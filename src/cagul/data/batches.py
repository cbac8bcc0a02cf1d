"""From records to model inputs: prompts by the processor's chat template, ids, labels, left padding."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from cagul.errors import DataError, HostError


class Prompter:
    """Renders questions with a host's own processor and remembers the ids.

    How many placeholders a picture takes depends on its size alone, so ids are kept by (question, size).
    """

    def __init__(self, processor: Any, name: str = "host"):
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise HostError(
                f"The processor of {name} is no processor of pictures and text.", "Save the host's own beside it.", "host-load"
            )
        if not getattr(processor, "chat_template", None):
            raise HostError(f"The processor of {name} has no chat template.", "Save one with its processor.", "chat-template")
        self.processor, self.tokenizer = processor, processor.tokenizer
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._ids: dict[tuple[str, tuple[int, int]], list[int]] = {}
        self._answers: dict[tuple[str, str], list[int]] = {}

    def conversation(self, messages: list[dict], *, answering: bool = True) -> str:
        """A conversation as text; with ``answering`` up to where the host would speak."""
        return self.processor.apply_chat_template(messages, add_generation_prompt=answering, tokenize=False)

    def prompt(self, question: str, images: int = 1) -> str:
        """One user turn with ``images`` pictures before the question."""
        return self.conversation([_user(question, images)])

    def inputs(self, prompts: list[str], pictures: list[Image.Image]) -> dict[str, Tensor]:
        """Left-padded inputs for prompts that hold one image mark for each picture, in order."""
        return dict(self.processor(text=prompts, images=pictures or None, padding=True, return_tensors="pt"))

    def ids(self, question: str, size: tuple[int, int]) -> list[int]:
        """Prompt ids of a question about one picture of ``size`` (width, height) pixels."""
        key = (question, size)
        if key not in self._ids:
            blank = Image.new("RGB", size)
            self._ids[key] = self.inputs([self.prompt(question)], [blank])["input_ids"][0].tolist()
        return self._ids[key]

    def answer_ids(self, question: str, answer: str) -> list[int]:
        """Ids that the host would have to say: the template's own rendering of the answer, its end mark included."""
        key = (question, answer)
        if key not in self._answers:
            before = self.prompt(question, 0)
            said = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
            whole = self.conversation([_user(question, 0), said], answering=False)
            if whole.startswith(before):
                start, full = (self._text_ids(text) for text in (before, whole))
                ids = full[len(start) :] if full[: len(start)] == start else self._text_ids(whole[len(before) :])
            else:
                ids = self._text_ids(answer)
            eos = self.tokenizer.eos_token_id  # what a template writes after it is nothing to say
            self._answers[key] = [*ids[: ids.index(eos)], eos] if eos in ids else [*ids, eos]
        return self._answers[key]

    def _text_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def batch(self, prompts: list[list[int]], answers: list[list[int]]) -> tuple[dict[str, Tensor], Int[Tensor, "B T"]]:
        """Prompt and answer side by side, left-padded, so that all answers end in the last column.

        The labels (B, T) belong to the last T positions but one: ``logits[:, t]`` of the T kept predicts ``labels[:, t]``.
        """
        rows = [p + a for p, a in zip(prompts, answers, strict=True)]
        length, longest = max(map(len, rows)), max(map(len, answers))
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        labels = torch.full((len(rows), longest), -100)
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            ids[i, length - len(row) :] = torch.tensor(row)
            mask[i, length - len(row) :] = 1
            labels[i, longest - len(answer) :] = torch.tensor(answer)
        return {"input_ids": ids, "attention_mask": mask}, labels

    def check_length(self, question: str, answer: str, size: tuple[int, int], limit: int, where: str) -> None:
        """Raises DataError when a record does not fit into the host's context of ``limit`` tokens."""
        length = len(self.ids(question, size)) + len(self.answer_ids(question, answer))
        if length > limit:
            raise DataError(f"{where} takes {length} tokens, but the host's context holds {limit}.",
                            "Shorten its question or answer.", "too-long")  # fmt: skip


def _user(question: str, images: int) -> dict:
    return {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": question}]}
