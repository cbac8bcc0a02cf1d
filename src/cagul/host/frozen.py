"""FrozenHost: a transformers vision-language model that encodes, answers and scores, and is never changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import StoppingCriteriaList
from transformers.modeling_layers import GradientCheckpointingLayer

from cagul.config import ProbedKind
from cagul.errors import DataError, HostError, UsageError
from cagul.host.attention_capture import recording, valid_rows
from cagul.host.families import Family, family_of, of_host
from cagul.host.front import Manifest, NoHead, Part
from cagul.host.generation import (
    before_stop,
    end_tokens,
    greedy_config,
    held_settings,
    overridden_settings,
    require_settings,
    stop_strings,
)
from cagul.host.loading import load_front, load_model, require_family
from cagul.host.prompt_layout import (
    QuestionRows,
    Span,
    earlier_turns,
    picture_counts,
    question_rows,
    turn_marks,
    visual_spans,
)
from cagul.host.prompter import Prompter
from cagul.host.streaming import StopAtText, stream_pieces
from cagul.host.visual_tokens import Seam
from cagul.host.weights import device_of, fingerprint, unwrapped, weight_bytes

Tokens = list[Float[Tensor, "V D"]]
AttentionSink = Callable[[int, Float[Tensor, "B H R S"], Bool[Tensor, "B R"]], None]


@dataclass(frozen=True)
class Layout:
    """Where the images of a batch are and which rows ask about them."""

    spans: list[Span]
    questions: dict[int, QuestionRows]  # by image


class Prefill(NamedTuple):
    """Prompts as the host reads them: the model's inputs, the untouched visual tokens of all their pictures,
    and where those stand. ``images`` are the ones that are asked about.
    """

    inputs: dict[str, Any]
    tokens: Tokens
    layout: Layout

    @property
    def images(self) -> list[int]:
        return list(self.layout.questions)


class FrozenHost:
    """A host whose parameters take no gradient and whose every use goes over the pre-computed-features seam.

    Shapes: B batch, V visual tokens of an image (ragged), D host width, S sequence, R recorded rows.
    """

    def __init__(self, model: Any, processor: Any, name: str = "host", *, unproven: bool = False):
        model = unwrapped(model)
        family = family_of(model.config.model_type, unproven=unproven)
        self.family: Family = of_host(family, model, processor, unproven=unproven)
        self.model: Any = model.eval().requires_grad_(False)
        self.prompter = Prompter(processor, self.family, name)
        self.processor, self.name = self.prompter.processor, name
        require_settings(vars(model.generation_config))
        self.manifest: Manifest | None = None
        self._seam: Seam | None = None
        self.marks = turn_marks(processor)
        self.language_model: Any = model.get_submodule(self.family.language_model)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str | None = None,
        dtype: torch.dtype | str = "auto",
        unproven: bool = False,
        part: Part = "whole",
        layers: int | None = None,
        manifest: str | Path | Manifest | None = None,
        **options: Any,
    ) -> FrozenHost:
        """Load a checkpoint folder or hub name with AutoModelForImageTextToText and AutoProcessor.

        A ``part`` of "front" leaves out all but the tower, the projector and the first ``layers`` of the
        language model (the first quarter if not given): it encodes and shows attention, and cannot answer.
        ``manifest``, which the whole host wrote, proves that it is of that host.

        ``unproven`` lets a family pass that is neither proven nor refused: ``selfcheck.load_host`` then asks
        the contracts. A ``device`` of "auto" spreads the weights over what there is; ``options`` such as
        ``device_map``, ``offload_folder`` and ``quantization_config`` go to transformers'
        ``from_pretrained``.

        Raises HostError when the folder holds no host or lacks some of its weights, or when the manifest is
        of another one; UnsupportedHost, before any weight is read, for a family that is not proven.
        """
        if part != "front" and (layers is not None or manifest is not None):
            raise UsageError(
                "layers and a manifest are for the front of a host.", 'Give part="front" too.', "front"
            )
        require_family(source, unproven)
        if part == "front":
            model, processor = load_front(source, layers, device, dtype, options)
        else:
            model, processor = load_model(source, device, dtype, options)
        host = cls(model, processor, str(source), unproven=unproven)
        if manifest is not None:
            host.manifest = manifest if isinstance(manifest, Manifest) else Manifest.load(manifest)
            host.manifest.require(host)
        return host

    # -- facts about the host

    @property
    def width(self) -> int:
        """Width D of a visual token: the language model's, with deepstack rows side by side."""
        vision = getattr(self.model.config, "vision_config", None)
        return self.language_model.config.hidden_size * (
            1 + len(getattr(vision, "deepstack_visual_indexes", None) or ())
        )

    @property
    def layers(self) -> int:
        return self.language_model.config.num_hidden_layers

    @property
    def device(self) -> torch.device:
        return device_of(self.model)

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

    @property
    def reads_several_turns(self) -> bool:
        """Whether the chat template renders several turns, with a mark between them."""
        return self.marks is not None and bool(self.marks.user)

    @property
    def quantised(self) -> bool:
        """Whether weights are held in fewer bits than they are computed with: a proven family is asked the
        contracts then.
        """
        return bool(getattr(self.model, "is_quantized", False)) or any(
            hasattr(p, "__tensor_flatten__") for p in self.model.parameters()
        )

    @property
    def is_front(self) -> bool:
        """Whether the later layers and the head are left out."""
        return isinstance(self.model.get_output_embeddings(), NoHead)

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def weight_bytes(self) -> int:
        return weight_bytes(self.model)

    def fingerprint(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers, in memory. Of a front
        it is the whole host's, by its manifest.

        Raises HostError for a front without a manifest, or with tensors that are not as it says.
        """
        if not self.is_front:
            return fingerprint(self.model)
        if self.manifest is None:
            raise HostError(
                f"The front has {self.layers} layers and no manifest, so which host it is of is not known.",
                "Give the manifest that `cagul manifest` wrote from the whole host.",
                "front",
            )
        self.manifest.require(self)
        return self.manifest.sha256

    # -- inputs

    def inputs(self, prompts: list[str], pictures: list[Image.Image]) -> dict[str, Tensor]:
        """Left-padded model inputs on the host's device; prompts hold one image mark for each picture, in
        order.

        Raises DataError when a prompt leaves no room for an answer in the host's context.
        """
        inputs = self.to_device(self.prompter.inputs(prompts, pictures))
        length = inputs["input_ids"].shape[1]
        if length >= self.context:
            raise DataError(
                f"A prompt takes {length} tokens, but the host's context holds {self.context}, answer "
                "included.",
                "Ask a shorter question, or about fewer pictures.",
                "too-long",
            )
        return inputs

    def to_device(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: value.to(self.device) for key, value in inputs.items()}

    def image_inputs(self, pictures: list[Image.Image]) -> dict[str, Tensor]:
        """Inputs for ``encode_images`` of pictures alone, one a prompt. They hold a whole prompt with an
        empty question: some families count a picture's tokens by its placeholders, and processors take no
        picture without text.
        """
        return self.inputs([self.prompter.prompt("", 1)] * len(pictures), pictures)

    def without_pixels(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs that go beside visual tokens: all but what only ``get_image_features`` reads."""
        return {key: value for key, value in inputs.items() if key not in self.family.pixel_keys}

    # -- encode, attend, score, generate, stream

    def encode_images(self, inputs: dict[str, Tensor], *, gradient: bool = False) -> Tokens:
        """The projected visual tokens of every picture: exactly the rows that replace its placeholders.

        A picture that the host cuts into tiles is one picture. ``inputs`` are a whole prompt's or those of
        ``image_inputs``. With ``gradient`` the tokens keep the gradient of the pixels.
        """
        wanted = inspect.signature(self.model.model.get_image_features).parameters
        pixels = {key: inputs[key] for key in wanted if inputs.get(key) is not None and key != "input_ids"}
        pixels["pixel_values"] = pixels["pixel_values"].to(self.dtype)
        with torch.set_grad_enabled(gradient):
            output = self.model.model.get_image_features(**pixels, return_dict=True)
        self._seam = self._seam or Seam.of(output)
        rows, entries = self._seam.rows(output)
        if self.family.pictures == "entry":
            return list(rows.split(entries))
        return list(
            rows.split(picture_counts(inputs["input_ids"].cpu(), self.image_token, self._global_tile))
        )

    def read_tokens_of(self, host: FrozenHost) -> None:
        """Take visual tokens in the container of ``host``, which has the same tower: for a host that encodes
        no picture itself.
        """
        self._seam = host._seam

    def layout(self, inputs: dict[str, Tensor], counts: list[int], images: list[int]) -> Layout:
        """Where images of ``counts`` visual tokens are in the prompts, and who asks about those of
        ``images``.
        """
        ids, mask = inputs["input_ids"].cpu(), inputs.get("attention_mask")
        mask = mask.cpu() if isinstance(mask, Tensor) and mask.ndim == 2 else None
        spans = visual_spans(ids, self.image_token, counts)
        special = {self.image_token, *self.processor.tokenizer.all_special_ids}
        questions = {}
        for image in images:
            row, columns = spans[image].row, spans[image].columns
            real = None if mask is None else mask[row]
            inside = [span.columns for span in spans if span.row == row]
            questions[image] = question_rows(
                ids[row], real, int(columns[0]), self.processor.tokenizer, special, self.marks, inside
            )
        return Layout(spans, questions)

    def prefill(self, inputs: dict[str, Any], tokens: Tokens, images: list[int] | None = None) -> Prefill:
        """A batch of prompts with the untouched ``tokens`` of its pictures, of which ``images`` (without them
        all) are asked about.
        """
        pictures_asked = list(range(len(tokens))) if images is None else images
        return Prefill(inputs, tokens, self.layout(inputs, [len(token) for token in tokens], pictures_asked))

    def hidden(self, prefill: Prefill) -> Bool[Tensor, "B S"]:
        """What the prompts of ``prefill.images`` say before their last user turn, pictures left out: see
        ``earlier_turns``, also for the GuardBypass that it raises.
        """
        inputs, layout = prefill.inputs, prefill.layout
        ids, mask = inputs["input_ids"].cpu(), inputs.get("attention_mask")
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool().cpu()
        special = {self.image_token, *self.processor.tokenizer.all_special_ids}
        hidden = torch.zeros_like(ids, dtype=torch.bool)
        for row in {layout.spans[image].row for image in prefill.images}:
            inside = [span.columns for span in layout.spans if span.row == row]
            hidden[row] = earlier_turns(
                ids[row], real[row], self.processor.tokenizer, special, self.marks, inside
            )
        return hidden

    def with_positions(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a forward pass with positions that count what the attention mask lets be seen, as
        ``generate`` counts them, in rows where it hides something in the middle. Hosts that place pictures in
        a plane count by the mask themselves.
        """
        mask = inputs.get("attention_mask")
        if mask is None or mask.ndim != 2 or hasattr(self.model.model, "get_rope_index"):
            return inputs
        broken = (mask.diff(dim=-1) < 0).any(-1, keepdim=True)
        if not bool(broken.any()):
            return inputs
        columns = torch.arange(mask.shape[1], device=mask.device)
        positions = torch.where(broken, (mask.cumsum(-1) - 1).clamp(min=0), columns)
        return {"position_ids": positions[:, -inputs["input_ids"].shape[1] :]} | inputs

    @torch.no_grad()
    def capture_attention(
        self, prefill: Prefill, layers: frozenset[int], sink: AttentionSink, kind: ProbedKind = "attention"
    ) -> None:
        """Run the untouched host over the prompts of ``prefill.images`` and hand out the attention rows of
        their questions.

        ``sink`` gets (layer, weights (B, H, R, S), valid (B, R)), one layer at a time; row b belongs to
        ``prefill.images[b]``. The pass ends after the last wanted layer.

        ``kind`` of value_norm weighs each attention by the length of the value that it brings (arXiv
        2004.10102); gradient gives the positive part of attention times its gradient (arXiv 2103.15679), of
        the log-probability of the token that the host would say first: it runs all layers, and back, and
        hands out the last layer first.
        """
        layout, images = prefill.layout, prefill.images
        rows, valid = (
            t.to(self.device) for t in valid_rows([layout.questions[image].rows for image in images])
        )
        prompts = [layout.spans[image].row for image in images]
        features = [prefill.tokens[i] for i in _pictures_of(prompts, layout)]
        repeated = self.with_positions(self._of_rows(prefill, prompts))

        def record(layer: int, weights: Tensor) -> None:
            sink(layer, weights, valid)

        with recording(
            self.language_model, rows, layers, record, stop_early=kind != "gradient", kind=kind
        ) as state:
            if kind == "gradient":
                self._propagate(repeated, features, [layout.questions[image].end for image in images])
            else:
                self.model.model(**repeated, mm_encoder_outputs=self.features(features), use_cache=False)
        if state.seen != layers:
            raise HostError(
                f"Layers {sorted(layers - state.seen)} gave no attention rows.",
                f"The host has layers 0 to {self.layers - 1}.",
                "attention",
            )

    @torch.no_grad()
    def first_token(self, prefill: Prefill, image: int, variants: Tokens) -> Float[Tensor, "N vocab"]:
        """Logits of the answer's first token with each of ``variants`` in place of the tokens of
        ``image``.
        """
        layout = prefill.layout
        prompts = [layout.spans[image].row] * len(variants)
        beside = _pictures_of(prompts[:1], layout)
        features = [variant if i == image else prefill.tokens[i] for variant in variants for i in beside]
        repeated = self.with_positions(self._of_rows(prefill, prompts))
        return self._first(repeated, features, [layout.questions[image].end] * len(variants))

    def _propagate(self, inputs: dict[str, Tensor], tokens: Tokens, ends: list[int]) -> None:
        """Run the host and propagate the log-probability of its first answer token back to the visual
        tokens.
        """
        with torch.inference_mode(False), torch.enable_grad():
            given = {key: value.clone() for key, value in inputs.items()}
            leaves = [token.detach().clone().requires_grad_() for token in tokens]
            self._first(given, leaves, ends).float().log_softmax(-1).amax(-1).sum().backward()

    def _first(self, inputs: dict[str, Tensor], tokens: Tokens, ends: list[int]) -> Float[Tensor, "B vocab"]:
        """Logits at the end of each row's prompt."""
        first = min(ends)
        keep = inputs["input_ids"].shape[1] - first
        logits = self.model(
            **inputs, mm_encoder_outputs=self.features(tokens), use_cache=False, logits_to_keep=keep
        ).logits
        return logits[torch.arange(len(ends)), torch.tensor(ends) - first]

    def of_prompts(self, prefill: Prefill, prompts: list[int]) -> Prefill:
        """Some of the prompts (rows of the batch), with all their pictures asked about."""
        tokens = [prefill.tokens[i] for i in _pictures_of(prompts, prefill.layout)]
        return self.prefill(self._of_rows(prefill, prompts), tokens)

    def _of_rows(self, prefill: Prefill, prompts: list[int]) -> dict[str, Tensor]:
        """The inputs of ``prompts`` (rows of the batch), without pixels and labels; what goes by picture
        follows its prompt.
        """
        inputs = prefill.inputs
        shape, order = inputs["input_ids"].shape, torch.tensor(prompts, device=self.device)
        by_row = {
            key: value[order]
            for key, value in inputs.items()
            if isinstance(value, Tensor) and value.shape[:2] == shape and key != "labels"
        }
        owner = _pictures_of(prompts, prefill.layout)
        by_picture = [key for key in self.family.picture_keys if inputs.get(key) is not None]
        return by_row | {key: inputs[key][owner] for key in by_picture}

    @property
    def _global_tile(self) -> int | None:
        """The token that stands before the last tile of a picture, for families that have one."""
        if self.family.pictures != "global":
            return None
        return self.processor.tokenizer.convert_tokens_to_ids(
            getattr(self.processor, "global_image_token", "<global-img>")
        )

    def features(self, tokens: Tokens) -> dict[str, Any]:
        """Tokens in the family's own container, a fresh one for each call: generate overwrites the one it is
        given.

        Raises HostError before the first ``encode_images``, which shows what the container is.
        """
        if self._seam is None:
            raise HostError(
                "No picture was encoded yet, so the container of visual tokens is unknown.",
                "Call encode_images first.",
                "host",
            )
        return {"image": self._seam.pack([token.to(self.dtype) for token in tokens])}

    def score(
        self,
        inputs: dict[str, Tensor],
        tokens: Tokens,
        logits_to_keep: int,
        gradient_checkpointing: bool = False,
    ) -> Float[Tensor, "B T vocab"]:
        """Logits of the last ``logits_to_keep`` positions (T), with gradients to ``tokens`` and to no
        parameter of the host.

        ``gradient_checkpointing`` keeps each layer's input alone and runs the layer again in the backward
        pass.
        """
        given = self.without_pixels(inputs)
        if tokens:
            given["mm_encoder_outputs"] = self.features(tokens)
        with checkpointing(self.language_model) if gradient_checkpointing else nullcontext():
            return self.model(**given, use_cache=False, logits_to_keep=logits_to_keep).logits

    @torch.no_grad()
    def generate(self, inputs: dict[str, Any], tokens: Tokens | None = None, **options: Any) -> Any:
        """What the host generates from the prompts, from ``tokens`` in place of the pictures where they are
        given.
        """
        inputs = dict(inputs) if tokens is None else self.without_pixels(inputs)
        if tokens:
            inputs["mm_encoder_outputs"] = self.features(tokens)
        given = inputs | options
        if stops := getattr(given.get("generation_config"), "stops", ()):
            stop = StopAtText(self.processor.tokenizer, given["input_ids"].shape[1], stops)
            given["stopping_criteria"] = StoppingCriteriaList([*(given.get("stopping_criteria") or ()), stop])
        return self.model.generate(**given)

    def stream(self, inputs: dict[str, Any], tokens: Tokens | None = None, **options: Any) -> Iterator[str]:
        """The same answer as ``generate`` for one prompt, in pieces as they come. A reader that stops early
        ends the generation.
        """
        criteria = options.pop("stopping_criteria", None)
        generate = partial(self.generate, inputs, tokens, **options)
        stops = getattr(options.get("generation_config"), "stops", ())
        return stream_pieces(self.processor.tokenizer, generate, criteria, stops)

    def decode(self, prompt_length: int, sequences: Int[Tensor, "B S"]) -> list[str]:
        """Decoded answers without prompts, special tokens and stop strings."""
        decode = self.processor.tokenizer.batch_decode
        texts = decode(sequences[:, prompt_length:], skip_special_tokens=True)
        return [before_stop(text.strip(), self.stop_strings) for text in texts]

    def generation_options(self, max_new_tokens: int = 48, *, stops: bool = True) -> dict[str, Any]:
        """Options of ``generate`` for greedy decoding, whatever the host's own settings are; what holds of
        them is in cagul.host.generation. Without ``stops`` its stop strings do not hold.

        Raises HostError (generation-config) for settings that cannot hold.
        """
        settings = greedy_config(self.held_settings, max_new_tokens)
        if not stops:
            settings.stops = ()
        return {"generation_config": settings}

    @property
    def overridden_settings(self) -> dict[str, Any]:
        """The checkpoint's own generation settings that greedy decoding overrides."""
        return overridden_settings(self.model.generation_config)

    @property
    def held_settings(self) -> dict[str, Any]:
        """The checkpoint's own generation settings that hold, and the tokenizer's where it names none."""
        return held_settings(vars(self.model.generation_config), self.processor.tokenizer)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return end_tokens(self.held_settings)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The texts that end an answer; they are not part of it."""
        return stop_strings(self.held_settings)


def _pictures_of(prompts: list[int], layout: Layout) -> list[int]:
    """The images of ``prompts`` (rows of the batch), prompt by prompt."""
    return [i for row in prompts for i, span in enumerate(layout.spans) if span.row == row]


@contextmanager
def checkpointing(language_model: nn.Module) -> Iterator[None]:
    """A forward pass inside the block keeps each layer's input alone and runs the layer again in the backward
    pass.

    Only the layers' own switch is set: what they hold stays in its mode, so a host's dropout stays off.
    """
    layers: list[Any] = [
        part for part in language_model.modules() if isinstance(part, GradientCheckpointingLayer)
    ]
    before = [(layer.training, layer.gradient_checkpointing) for layer in layers]
    for layer in layers:
        layer.training = layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        for layer, (training, switched) in zip(layers, before, strict=True):
            layer.training, layer.gradient_checkpointing = training, switched
