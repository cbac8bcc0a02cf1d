"""FrozenHost: a transformers VLM that is looked at, asked and scored, and never changed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, TextIteratorStreamer
from transformers.modeling_outputs import BaseModelOutputWithPooling

from cagul.data.batches import Prompter
from cagul.errors import DataError, HostError
from cagul.host.families import Family, family_of
from cagul.host.prompts import Question, Span, question_rows, turn_marks, visual_spans
from cagul.host.recording import recording, valid_rows

Tokens = list[Float[Tensor, "V D"]]
AttentionSink = Callable[[int, Float[Tensor, "B H R S"], Bool[Tensor, "B R"]], None]
PICTURE_KEYS = ("pixel_values", "image_sizes")


@dataclass(frozen=True)
class Layout:
    """Where the images of a batch are and which rows ask about them."""

    spans: list[Span]
    questions: dict[int, Question]  # by image


class FrozenHost:
    """A host whose parameters take no gradient and whose every use goes over the pre-computed-features seam.

    Shapes: B batch, V visual tokens of an image (ragged), D host width, S sequence, R recorded rows.
    """

    def __init__(self, model: Any, processor: Any, name: str = "host"):
        self.family: Family = family_of(model.config.model_type)
        self.model: Any = model.eval().requires_grad_(False)
        self.processor, self.name = processor, name
        self.prompter = Prompter(processor, name)
        self.marks = turn_marks(processor)
        language_model: Any = model
        for part in self.family.language_model.split("."):
            language_model = getattr(language_model, part)
        self.language_model: Any = language_model

    @classmethod
    def load(cls, source: str | Path, *, device: str | None = None, dtype: torch.dtype | str = "auto") -> FrozenHost:
        """Load a checkpoint folder or hub name with AutoModelForImageTextToText and AutoProcessor.

        Raises HostError when the folder holds no host or lacks some of its weights, UnsupportedHost, before any weight is
        read, for a family that is not proven.
        """
        try:
            family_of(AutoConfig.from_pretrained(source).model_type)
            processor = AutoProcessor.from_pretrained(source)
            loaded: Any = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype, output_loading_info=True)
            model: Any = loaded[0]
            model = model.to(device) if device else model
        except HostError:
            raise
        except Exception as error:  # transformers meets a broken file with whatever breaks first
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise HostError(f"{source} does not load as an image-text-to-text model: {reason}",
                            "Give a checkpoint folder or hub name that transformers loads, with its processor.",
                            "host-load") from error  # fmt: skip
        missing = sorted(loaded[1]["missing_keys"])
        if missing:
            raise HostError(f"{source} lacks {len(missing)} of its weights, the first is {missing[0]}; they would be random.",
                            "Give a whole checkpoint.", "host-load")  # fmt: skip
        return cls(model, processor, str(source))

    # -- facts about the host -------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        return self.language_model.config.hidden_size

    @property
    def layers(self) -> int:
        return self.language_model.config.num_hidden_layers

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def image_token(self) -> int:
        return self.model.config.image_token_id

    @property
    def context(self) -> int:
        """How many tokens the language model holds, prompt and answer together."""
        return int(getattr(self.language_model.config, "max_position_embeddings", None) or 10**9)

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def fingerprint(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers, in memory."""
        digest = hashlib.sha256()
        for name, tensor in sorted([*self.model.named_parameters(), *self.model.named_buffers()]):
            data = tensor.detach().contiguous().cpu()
            digest.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
            digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    # -- inputs ---------------------------------------------------------------------------------------------------

    def inputs(self, prompts: list[str], pictures: list[Image.Image]) -> dict[str, Tensor]:
        """Left-padded model inputs on the host's device; prompts hold one image mark for each picture, in order.

        Raises DataError when a prompt leaves no room for an answer in the host's context.
        """
        inputs = self.to_device(self.prompter.inputs(prompts, pictures))
        length = inputs["input_ids"].shape[1]
        if length >= self.context:
            raise DataError(f"A prompt takes {length} tokens, but the host's context holds {self.context}, answer included.",
                            "Ask a shorter question, or about fewer pictures.", "too-long")  # fmt: skip
        return inputs

    def to_device(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: value.to(self.device) for key, value in inputs.items()}

    def pixels(self, pictures: list[Image.Image]) -> dict[str, Tensor]:
        """Only the pictures' part of the inputs."""
        return self.to_device(dict(self.processor.image_processor(pictures, return_tensors="pt")))

    # -- look, attend, score, generate, stream --------------------------------------------------------------------

    @torch.no_grad()
    def look(self, inputs: dict[str, Tensor]) -> Tokens:
        """The projected visual tokens of every picture: exactly the rows that replace its placeholders."""
        pixels = {key: inputs[key] for key in PICTURE_KEYS if inputs.get(key) is not None}
        pixels["pixel_values"] = pixels["pixel_values"].to(self.dtype)
        return list(self.model.model.get_image_features(**pixels, return_dict=True).pooler_output)

    def layout(self, inputs: dict[str, Tensor], counts: list[int], images: list[int]) -> Layout:
        """Where images of ``counts`` visual tokens are in the prompts, and who asks about those of ``images``."""
        ids, mask = inputs["input_ids"].cpu(), inputs.get("attention_mask")
        mask = mask.cpu() if isinstance(mask, Tensor) and mask.ndim == 2 else None
        spans = visual_spans(ids, self.image_token, counts)
        special = {self.image_token, *self.processor.tokenizer.all_special_ids}
        questions = {}
        for image in images:
            row, columns = spans[image].row, spans[image].columns
            real = None if mask is None else mask[row]
            questions[image] = question_rows(ids[row], real, int(columns[0]), self.processor.tokenizer, special, self.marks)
        return Layout(spans, questions)

    @torch.no_grad()
    def attend(self, inputs: dict[str, Tensor], tokens: Tokens, layout: Layout, images: list[int],
               layers: frozenset[int], sink: AttentionSink) -> None:  # fmt: skip
        """Run the untouched host over the prompts of ``images`` and hand out their questions' attention rows.

        ``sink`` gets (layer, weights (B, H, R, S), valid (B, R)), one layer at a time; row b belongs to ``images[b]``.
        The pass ends after the last wanted layer. ``tokens`` are the untouched tokens of all images of the batch.
        """
        rows, valid = (t.to(self.device) for t in valid_rows([layout.questions[image].rows for image in images]))
        prompts = [layout.spans[image].row for image in images]
        order = torch.tensor(prompts, device=self.device)
        features = [t for row in prompts for t, span in zip(tokens, layout.spans, strict=True) if span.row == row]
        repeated = {key: inputs[key][order] for key in ("input_ids", "attention_mask") if inputs.get(key) is not None}

        def keep(layer: int, weights: Tensor) -> None:
            sink(layer, weights, valid)

        with recording(self.language_model, rows, layers, keep, stop_early=True) as state:
            self.model.model(**repeated, mm_encoder_outputs=self.features(features), use_cache=False)
        if state.seen != layers:
            raise HostError(f"Layers {sorted(layers - state.seen)} gave no attention rows.",
                            f"The host has layers 0 to {self.layers - 1}.", "attention")  # fmt: skip

    def features(self, tokens: Tokens) -> dict[str, BaseModelOutputWithPooling]:
        """A fresh container for each call: generate overwrites the one it is given."""
        return {"image": BaseModelOutputWithPooling(pooler_output=[token.to(self.dtype) for token in tokens])}  # type: ignore[arg-type]

    def score(self, inputs: dict[str, Tensor], tokens: Tokens, keep: int) -> Float[Tensor, "B T vocab"]:
        """Logits of the last ``keep`` positions, with gradients to ``tokens`` and to no parameter of the host."""
        given = {"mm_encoder_outputs": self.features(tokens)} if tokens else {}
        return self.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], **given,
                          use_cache=False, logits_to_keep=keep).logits  # fmt: skip

    @torch.no_grad()
    def generate(self, inputs: dict[str, Any], tokens: Tokens | None = None, **options: Any) -> Any:
        """What the host generates from the prompts, from ``tokens`` in place of the pictures where they are given."""
        inputs = dict(inputs)
        if tokens is not None:
            for key in PICTURE_KEYS:
                inputs.pop(key, None)
            if tokens:
                inputs["mm_encoder_outputs"] = self.features(tokens)
        return self.model.generate(**inputs, **options)

    def stream(self, inputs: dict[str, Any], tokens: Tokens | None = None, **options: Any) -> Iterator[str]:
        """The same answer as ``generate`` for one prompt, in pieces as they come."""
        streamer = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        return stream_pieces(streamer, lambda: self.generate(inputs, tokens, streamer=streamer, **options))

    def texts(self, prompt_length: int, sequences: Int[Tensor, "B S"]) -> list[str]:
        """Decoded answers without prompts and special tokens."""
        decode = self.processor.tokenizer.batch_decode
        return [text.strip() for text in decode(sequences[:, prompt_length:], skip_special_tokens=True)]

    def generation_options(self, max_new_tokens: int = 48) -> dict[str, Any]:
        """Greedy decoding, without the host's own sampling defaults."""
        settings = copy.deepcopy(self.model.generation_config)
        settings.update(do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, max_length=None,
                        temperature=None, top_p=None, top_k=None)  # fmt: skip
        if settings.pad_token_id is None:
            settings.pad_token_id = self.processor.tokenizer.pad_token_id
        return {"generation_config": settings}


def stream_pieces(streamer: TextIteratorStreamer, work: Callable[[], Any]) -> Iterator[str]:
    """Run ``work`` in a thread of its own and yield what it streams; its error is raised here."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the reader below
            failure.append(error)
            streamer.end()

    thread = Thread(target=run, daemon=True)
    thread.start()
    yield from streamer
    thread.join()
    if failure:
        raise failure[0]
