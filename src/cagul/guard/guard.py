"""Guard(host, patch): the host as it is served. Every picture passes the gate; what fires is rewritten at
prefill.

There is no way around it by accident: what would reach the unguarded host is gated or refused by name,
before the first token. Only ``guard.host`` is the host.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from threading import local
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import Cache

from cagul.data.pictures import open_picture
from cagul.errors import GuardBypass, HostError
from cagul.guard.caches import CacheRecord, GuardedCaches
from cagul.guard.decision import Answer, Decision, Part
from cagul.guard.encoded import EncodedPrompts, without_columns
from cagul.guard.face_gate import PICTURES, FaceGate, with_pictures
from cagul.guard.modes import DISABLED, FORCED, UNFILTERED, within
from cagul.guard.name_probe import NameProbe
from cagul.guard.names import NamesInPrompt, restored
from cagul.guard.output_filter import NO_VALUES, Asked, FilteredGeneration, OutputFilter, Watch
from cagul.guard.patch import Patch
from cagul.guard.refused_inputs import refuse
from cagul.guard.stand_ins import pieces_with_names
from cagul.guard.token_edit import choose_tokens, rewrite
from cagul.host.frozen import FrozenHost, Prefill, Tokens
from cagul.host.generation import GreedyConfig
from cagul.host.prompt_layout import hide
from cagul.host.streaming import stream_pieces
from cagul.method.faces import FaceRecogniser

LOGGER = logging.getLogger(__name__)


@cache
def _named(guard: Any, name: str) -> Any:
    return type(name, (guard,), {"__doc__": guard.__doc__, "__module__": guard.__module__})


class Guard:
    """Host and patch at use. Inputs and outputs are the host's; ``decisions`` holds this thread's last
    verdicts. With ``output_filter`` answers that would say a value of a forgotten person are withheld
    (output_filter.py), where values are enrolled and their key is there. ``recogniser`` takes the place of
    the one that a patch with faces names.

    Raises PatchError when the patch belongs to another host; ``check=False`` skips the hash of the weights.
    Raises UsageError and PatchError where the patch has faces, and their recogniser is not there or another.
    """

    def __new__(cls, host: FrozenHost, patch: Patch, **options: Any) -> Guard:
        """A guard is a Guard under the name of its host's class: transformers' pipelines know what they serve
        by that name.
        """
        return object.__new__(_named(cls, type(host.model).__name__))  # type: ignore[arg-type]

    def __init__(
        self,
        host: FrozenHost,
        patch: Patch,
        *,
        check: bool = True,
        output_filter: bool = False,
        recogniser: FaceRecogniser | None = None,
    ):
        if check:
            patch.require(host)
        self.host, self.patch = host, patch
        self._faces = FaceGate.of(patch, recogniser)
        if patch.names_off:
            LOGGER.warning("Gate for names %s", patch.names_note)
        self._filter: OutputFilter | None = patch.values if output_filter else None
        if output_filter and patch.values is None and patch.values_note != NO_VALUES:
            LOGGER.warning("Output filter %s", patch.values_note)
        self._probe = NameProbe.of(host, patch)
        if self._probe is None and patch.config.gate.probe == "name":
            LOGGER.warning("Name probe of the gate OFF: %s", patch.names_note)
        self._move()
        self._local = local()
        self._caches = GuardedCaches()

    @classmethod
    def load(
        cls,
        host: str | Path,
        patch: str | Path,
        *,
        names_key: str | Path | None = None,
        output_filter: bool = False,
        recogniser: FaceRecogniser | None = None,
        **options: Any,
    ) -> Guard:
        """Load both from folders or hub names; ``options`` go to ``FrozenHost.load``. The names and values
        sealed beside the patch are opened with ``names_key``, or with the key in its default place; where
        they cannot be opened, a NamesOffWarning says why.

        With a ``part`` of "front" the layers that the patch reads are loaded; ``encode``, ``tokens`` and
        ``judge`` are all that it does.
        """
        opened = Patch.from_pretrained(patch, names_key=names_key)  # fails before the host is loaded
        if options.get("part") == "front":
            options = {"layers": opened.depth} | options
        if output_filter and opened.values_note == NO_VALUES:
            LOGGER.warning("Output filter OFF: %s with %s", NO_VALUES, patch)
        return cls(
            FrozenHost.load(host, **options), opened, output_filter=output_filter, recogniser=recogniser
        )

    # -- the host's own interface

    @torch.compiler.disable
    def generate(self, inputs: Tensor | None = None, **options: Any) -> Any:
        """``model.generate`` behind the gate; the same result where gate and filter are silent, bit for
        bit. ``pictures``, where given, are those of ``pixel_values``, for the face part of the gate.
        """
        self._forget_call()
        pictures = options.pop(PICTURES, None)
        if inputs is not None:
            options["input_ids"] = inputs
        given = options.get("generation_config")
        # generate fills what is unset in other settings than these from the host's
        own = () if isinstance(given, GreedyConfig) else (self.host.model.generation_config,)
        refuse(options, *own, given)
        if self in DISABLED.get():
            self._caches.forget(options)
            return self.host.generate(options)
        asked_ids = options.get("input_ids")
        names = self._pass_names(options)
        cache, held = self._caches.held(options)
        unhidden, tokens, prefill = dict(options), None, None
        if held is not None:
            held = self._require_cover(held, options)
        else:
            held, tokens, prefill = self._pass_gate(options, pictures)
        asked = self._note_asked(asked_ids, unhidden.get("attention_mask"), held)
        filtering = self._filtering(asked, options, prefill, unhidden)
        output = self.host.generate(options, tokens)
        if filtering is not None:
            output = filtering.filtered(output)
            self._note_withheld(filtering.asked, prefill)
        if self.withheld:
            self._caches.forget(options)  # the cache holds what was withheld
        else:
            self._caches.remember(held, cache, getattr(output, "past_key_values", None))
        return output if names is None else restored(output, names)

    @torch.compiler.disable
    def __call__(self, input_ids: Tensor | None = None, **inputs: Any) -> Any:
        """``model(...)`` behind the gate; ``pictures`` as in ``generate``."""
        self._forget_call()
        pictures = inputs.pop(PICTURES, None)
        if input_ids is not None:
            inputs["input_ids"] = input_ids
        refuse(inputs)
        if self in DISABLED.get():
            self._caches.forget(inputs)
            return self.host.model(**inputs)
        self._pass_names(inputs)
        cache, held = self._caches.held(inputs)
        if held is not None:
            if held.masks and inputs["input_ids"].shape[1] > 1:
                raise GuardBypass(
                    "This cache holds a rewritten picture, and several new tokens may hold another question.",
                    "Run the whole conversation again without past_key_values.",
                    "cache",
                )
            hide(inputs, held.hidden, held.length + inputs["input_ids"].shape[1])
            output = self.host.model(**(inputs if held.hidden is None else self.host.with_positions(inputs)))
        else:
            held, tokens, _ = self._pass_gate(inputs, pictures)
            given = inputs if tokens is None else self.host.without_pixels(inputs)
            given = given if held.hidden is None else self.host.with_positions(given)
            if tokens:
                given["mm_encoder_outputs"] = self.host.features(tokens)
            output = self.host.model(**given)
        self._caches.remember(held, cache, getattr(output, "past_key_values", None))
        return output

    def encode(self, inputs: dict[str, Any]) -> EncodedPrompts:
        """Whole prompts ready for a worker that holds the same host without the guard: what it answers from
        these is what ``generate`` answers. ``pictures`` as there.

        The output filter sees no answer of a worker: ``watch`` tells whether one says a value. Of hosts whose
        layers see a window alone, ``generate`` counts hidden turns in it and the worker does not. Raises
        GuardBypass as ``generate`` does, and for a prompt that goes on from a cache.
        """
        self._forget_call()
        inputs = dict(inputs)
        pictures = inputs.pop(PICTURES, None)
        refuse(inputs)
        if inputs.get("past_key_values") is not None:
            raise GuardBypass(
                "past_key_values came with prompts that are to be encoded whole.",
                "Give the whole conversation without a cache.",
                "cache",
            )
        if self in DISABLED.get():
            tokens = self.host.encode_images(inputs) if inputs.get("pixel_values") is not None else []
            return EncodedPrompts(self.host.without_pixels(inputs), tokens, ())
        given = dict(inputs)
        names = self._pass_names(given)
        held, edited, _ = self._pass_gate(given, pictures)
        self._note_asked(inputs.get("input_ids"), inputs.get("attention_mask"), held)
        read = inputs if names is None else inputs | {"input_ids": names.ids}
        padding = self.host.processor.tokenizer.pad_token_id
        kept = without_columns(self.host.without_pixels(read), held.hidden, padding)
        return EncodedPrompts(kept, edited or [], self.decisions, names)

    def tokens(self, inputs: dict[str, Any]) -> Tokens:
        """The visual tokens that the host would answer from, one for each picture: rewritten where the gate
        fires.
        """
        return self.encode(inputs).tokens

    # -- questions in, answers out

    def answer(
        self, image: Image.Image | str | Path | Sequence | None, question: str, *, max_new_tokens: int = 48
    ) -> Answer:
        """Ask one question about a picture, several pictures or none; greedy decoding."""
        inputs = self._ask(image, question)
        output = self.generate(**inputs, **self.host.generation_options(max_new_tokens))
        text = self.host.decode(inputs["input_ids"].shape[1], output)[0]
        return Answer(text, self.decisions, self.names_replaced, bool(self.withheld))

    def stream(
        self, image: Image.Image | str | Path | Sequence | None, question: str, *, max_new_tokens: int = 48
    ) -> Iterator[str]:
        """The pieces of ``answer`` as they come; ``decisions`` hold its verdicts after the last one. A reader
        that stops early ends the generation. Where the output filter withholds the answer, the second one
        follows what was shown before the value.
        """
        inputs = self._ask(image, question)
        options = self.host.generation_options(max_new_tokens)
        verdicts: list[Decision] = []
        withheld: list[int] = []
        context = copy_context()  # the worker's thread sees forced() and disabled() as this call does

        def generate(**streaming: Any) -> None:
            context.run(self.generate, **inputs, **options, **streaming)
            verdicts.extend(self.decisions)
            withheld.extend(self.withheld)

        pieces = self._streaming(generate, verdicts, withheld)
        names = None if self in DISABLED.get() else self._pass_names(dict(inputs))
        return pieces if names is None else pieces_with_names(pieces, names.said_for(0))

    def _streaming(
        self, generate: Callable[..., None], verdicts: list[Decision], withheld: list[int]
    ) -> Iterator[str]:
        yield from stream_pieces(self.host.processor.tokenizer, generate, stops=self.host.stop_strings)
        self._local.decisions, self._local.withheld = tuple(verdicts), tuple(withheld)

    def _ask(self, image: Any, question: str) -> dict[str, Any]:
        given = [] if image is None else list(image) if isinstance(image, (list, tuple)) else [image]
        pictures = [i if isinstance(i, Image.Image) else open_picture(i) for i in given]
        inputs = self.host.inputs([self.host.prompter.prompt(question, len(pictures))], pictures)
        return inputs | ({PICTURES: pictures} if pictures else {})

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The verdicts of this thread's last call, one for each image."""
        return getattr(self._local, "decisions", ())

    @property
    def withheld(self) -> tuple[int, ...]:
        """Of this thread's last call the prompts whose first answer the output filter withheld."""
        return getattr(self._local, "withheld", ())

    def watch(self, row: int) -> Watch | None:
        """What tells whether an answer to a prompt of this thread's last call says a value; None where the
        filter is off.
        """
        asked: Asked | None = getattr(self._local, "asked", None)
        return None if asked is None or self._filter is None else asked.watch(self._filter, row)

    @property
    def names_replaced(self) -> int:
        """How many forgotten names were found in the prompts of this thread's last call."""
        found = getattr(self._local, "names", None)
        return len(found.replaced) if found is not None else 0

    def said_for(self, row: int) -> tuple[tuple[str, str], ...]:
        """Of a prompt of this thread's last call: (invented name that the host read, name that was given)."""
        found = getattr(self._local, "names", None)
        return found.said_for(row) if found is not None else ()

    @contextmanager
    def disabled(self) -> Iterator[FrozenHost]:
        """Inside the block, and in this thread alone, the guard is the host."""
        with within(DISABLED, self):
            yield self.host

    @contextmanager
    def forced(self) -> Iterator[Guard]:
        """Inside the block, and in this thread alone, the gate fires on every picture: what a false alarm
        costs.
        """
        with within(FORCED, self):
            yield self

    @contextmanager
    def unfiltered(self) -> Iterator[Guard]:
        """Inside the block, and in this thread alone, the output filter withholds nothing."""
        with within(UNFILTERED, self):
            yield self

    # -- the gate

    def _forget_call(self) -> None:
        self._local.decisions, self._local.names = (), None
        self._local.asked, self._local.withheld = None, ()

    @torch.no_grad()
    def judge(self, tokens: Tokens) -> Tensor:
        """Gate scores of images by their visual tokens, float32 on the CPU.

        Raises HostError for a score that is not a number: a gate that cannot judge must not let a picture
        pass.
        """
        scores = self.patch.gate([token.float().to(self.host.device) for token in tokens]).float().cpu()
        if not bool(torch.isfinite(scores).all()):
            raise HostError(
                "The gate's score is not a number, so the gate cannot judge the picture.",
                "Check the picture and the host's dtype.",
                "gate-score",
            )
        return scores

    @property
    def asks_names(self) -> bool:
        """Whether there is a name probe that can be asked: its names are open, and the host is whole."""
        return self._probe is not None and not self.host.is_front

    def fires(
        self,
        inputs: dict[str, Any],
        tokens: Tokens,
        scores: Tensor,
        pictures: Sequence[Image.Image] | None = None,
        *,
        by_name: bool = True,
    ) -> dict[int, Part]:
        """The images that fire, and by which part of the gate: where the score lets a picture pass, its faces
        are looked at, then the host is asked who it shows, if the patch wants it. ``tokens``, ``scores`` and
        ``pictures`` are of all pictures of ``inputs``. Without ``by_name`` the host is not asked.
        """
        if self in FORCED.get():
            return dict.fromkeys(range(len(tokens)), "forced")
        above = scores > self.patch.threshold
        found: dict[int, Part] = {i: "input gate" for i in range(len(tokens)) if above[i]}
        silent = [i for i in range(len(tokens)) if i not in found]
        if self._faces is not None and silent:
            found |= dict.fromkeys(self._faces.fires(pictures, len(tokens), silent), "face")
            silent = [i for i in silent if i not in found]
        if by_name and self._probe is not None and silent:
            found |= dict.fromkeys(self._probe.named(inputs, tokens, silent), "name probe")
        return found

    def recognises(self, picture: Image.Image) -> bool:
        """Whether the face part of the gate fires on an upright RGB picture; False where there is none."""
        return self._faces is not None and bool(self._faces.fires([picture], 1, [0]))

    def _pass_names(self, inputs: dict[str, Any]) -> NamesInPrompt | None:
        """Put names that the host does not know in the place of forgotten ones in ``input_ids``. Returns what
        was replaced; None, and ``inputs`` as they are, where no name is found.
        """
        gate, self._local.names = self.patch.names, None
        if gate is not None:
            self._local.names = gate.look(inputs, self.host.processor.tokenizer, self.host.image_token)
        if self._local.names is not None:
            inputs["input_ids"] = self._local.names.ids
        return self._local.names

    @torch.no_grad()
    def _pass_gate(
        self, inputs: dict[str, Any], pictures: Sequence[Image.Image] | None = None
    ) -> tuple[CacheRecord, Tokens | None, Prefill | None]:
        """Encode the pictures, score them, and rewrite the tokens of those that fire. Returns what a cache
        will hold, the tokens to answer from, and the prompts with the untouched tokens.

        Where a picture fires, the ``attention_mask`` of ``inputs`` hides its conversation's earlier turns
        from here on.
        """
        if inputs.get("pixel_values") is None:
            return CacheRecord([], {}), None, None
        if inputs.get("input_ids") is None:
            raise GuardBypass(
                "A picture came without input_ids, so its question is unknown.",
                "Give input_ids beside pixel_values.",
            )
        for name in self.host.family.token_types:
            if inputs.get(name) is None:
                raise GuardBypass(
                    f"{name} is missing: without it {self.host.family.title} reads its pictures wrongly, "
                    "without an error.",
                    "Give all that the host's processor returned.",
                    "token-types",
                )
        began = time.perf_counter()
        tokens = self.host.encode_images(inputs)
        scores = self.judge(tokens)
        parts = self.fires(inputs, tokens, scores, pictures)
        fired = sorted(parts)
        prefill = self.host.prefill(inputs, tokens, fired)
        edited, masks, hidden = self._rewrite(prefill)
        spent = 1000 * (time.perf_counter() - began) / max(1, len(tokens))
        self._local.decisions = tuple(
            Decision(
                float(score),
                self.patch.threshold,
                i in masks,
                tuple(masks[i].nonzero().flatten().tolist()) if i in masks else (),
                len(tokens[i]),
                i in masks and prefill.layout.questions[i].fallback,
                spent,
                fired_by=parts.get(i, ""),
            )
            for i, score in enumerate(scores)
        )
        near = self._near(len(inputs["input_ids"]), scores.tolist(), parts, prefill)
        return CacheRecord(tokens, masks, hidden, near=near), edited, prefill

    def _rewrite(self, prefill: Prefill) -> tuple[Tokens, dict[int, Tensor], Tensor | None]:
        """The tokens of all pictures, rewritten for ``prefill.images``; which of these tokens were; and what
        is hidden of their prompts (B, S).
        """
        edited, masks = list(prefill.tokens), dict[int, Tensor]()
        if not prefill.images:
            return edited, masks, None
        hidden = self._last_turn_alone(prefill)
        chosen = choose_tokens(self.host, self.patch.config, self.patch.layers, prefill)
        rewritten = rewrite(self.patch.encoder, [prefill.tokens[i] for i in prefill.images], chosen)
        for i, mask, token in zip(prefill.images, chosen, rewritten, strict=True):
            edited[i], masks[i] = token, mask
        return edited, masks, hidden

    def _last_turn_alone(self, prefill: Prefill) -> Tensor:
        """Hide all turns but the last one, pictures left out, from the prompts of ``prefill.images``. Returns
        what is hidden, (B, S).

        A client that writes both sides of a conversation could make the host continue from answers that it
        never gave (measured in LOG.md). Source: ours.

        Raises GuardBypass where turns cannot be told apart, or cannot be hidden.
        """
        inputs = prefill.inputs
        mask, ids = inputs.get("attention_mask"), inputs["input_ids"]
        if mask is not None and (not isinstance(mask, Tensor) or mask.shape != ids.shape):
            shapes = f"{tuple(getattr(mask, 'shape', ()))}: input_ids have {tuple(ids.shape)}"
            raise GuardBypass(
                "A picture fires, but earlier turns cannot be hidden by an attention_mask of shape "
                f"{shapes}.",
                "Give the processor's own attention_mask.",
            )
        hidden = self.host.hidden(prefill)
        hide(inputs, hidden, hidden.shape[1])
        return hidden

    # -- the output filter

    @property
    def _active_filter(self) -> OutputFilter | None:
        return None if self in UNFILTERED.get() else self._filter

    def _near(
        self, prompts: int, scores: Sequence[float], parts: dict[int, Part], prefill: Prefill
    ) -> tuple[bool, ...]:
        """Which prompts have a picture above the lower threshold, or one on which the gate fires by itself:
        faces and the name probe have no such score, and a store's threshold may be below that of the values.
        """
        if self._filter is None:
            return ()
        near = {
            span.row
            for i, (score, span) in enumerate(zip(scores, prefill.layout.spans, strict=True))
            if self._filter.is_near([score]) or parts.get(i) in ("input gate", "face", "name probe")
        }
        return tuple(row in near for row in range(prompts))

    def _note_asked(self, ids: Any, mask: Any, held: CacheRecord) -> Asked | None:
        """Keep the prompts of this call for ``watch``, by their ``ids`` and ``mask`` as they were given; None
        where there is no filter.
        """
        if self._filter is None or not isinstance(ids, Tensor) or ids.ndim != 2:
            return None
        mask = mask if isinstance(mask, Tensor) and mask.shape == ids.shape else None
        named = set() if self._local.names is None else {one.row for one in self._local.names.replaced}
        near = held.near
        if len(near) != len(ids):  # a cache of several answers to a prompt: which is whose is not known
            near = (any(near),) * len(ids)
        near = tuple(row in named or near[row] for row in range(len(ids)))
        self._local.asked = Asked(ids, mask, near, self.host.processor.tokenizer)
        return self._local.asked

    def _filtering(
        self, asked: Asked | None, options: dict[str, Any], prefill: Prefill | None, unhidden: dict[str, Any]
    ) -> FilteredGeneration | None:
        """What filters a call of ``generate`` with ``options``; None where the filter is off. ``unhidden``
        are the options before turns were hidden.
        """
        active = self._active_filter
        if asked is None or active is None:
            return None
        if prefill is not None:
            asked.again = partial(self._answer_again, prefill._replace(inputs=unhidden))
        return FilteredGeneration(active, asked, options)

    @torch.no_grad()
    def _answer_again(self, prefill: Prefill, rows: list[int]) -> Tensor | None:
        """Sequences of the prompts ``rows`` of a call of ``generate``, all of whose options are in
        ``prefill.inputs``, with the gate forced on their pictures; None where one of them has none.
        """
        if not set(rows) <= {span.row for span in prefill.layout.spans}:
            return None
        again = self.host.of_prompts(prefill, rows)
        edited, _, _ = self._rewrite(again)
        settings = {
            name: value
            for name, value in prefill.inputs.items()
            if not isinstance(value, (Tensor, Cache)) and name != "streamer"
        }
        output = self.host.generate(again.inputs | settings, edited)
        return output if isinstance(output, Tensor) else output.sequences

    def _note_withheld(self, asked: Asked, prefill: Prefill | None) -> None:
        """Say in the decisions which pictures' answers were withheld."""
        self._local.withheld = tuple(sorted(asked.withheld))
        if prefill is not None and asked.withheld:
            self._local.decisions = tuple(
                replace(decision, withheld=span.row in asked.withheld)
                for decision, span in zip(self.decisions, prefill.layout.spans, strict=True)
            )

    # -- caches

    def _require_cover(self, held: CacheRecord, inputs: dict[str, Any]) -> CacheRecord:
        """A new question over a rewritten picture needs every token that it would choose to be rewritten
        already. Returns what is held, with the turns hidden that are earlier ones now.
        """
        if not held.masks:
            return held
        ids = inputs.get("input_ids")
        if ids is None or int((ids == self.host.image_token).sum()) != sum(
            len(token) for token in held.tokens
        ):
            raise GuardBypass(
                "The cache holds a rewritten picture, but input_ids do not hold the conversation with it.",
                "Give input_ids from the first turn on, or run the conversation again.",
                "cache",
            )
        images = sorted(held.masks)
        prefill = self.host.prefill(inputs, held.tokens, images)
        hidden = self._last_turn_alone(prefill)
        wanted = choose_tokens(self.host, self.patch.config, self.patch.layers, prefill)
        for image, mask in zip(images, wanted, strict=True):
            missing = int((mask & ~held.masks[image]).sum())
            if missing:
                raise GuardBypass(
                    f"The cache does not cover the new question: {missing} of its {int(mask.sum())} tokens "
                    f"of picture {image} were not rewritten.",
                    "Run the whole conversation again without past_key_values.",
                    "cache",
                )
        return replace(held, hidden=hidden)

    # -- what a model offers otherwise

    @property
    def config(self) -> Any:
        return self.host.model.config

    @property
    def generation_config(self) -> Any:
        return self.host.model.generation_config

    @property
    def device(self) -> torch.device:
        return self.host.device

    @property
    def dtype(self) -> torch.dtype:
        return self.host.dtype

    @property
    def processor(self) -> Any:
        """The host's; for a patch with faces one whose outputs hold the pictures too, as pipelines need."""
        return self.host.processor if self._faces is None else with_pictures(self.host.processor)

    def can_generate(self) -> bool:
        return True

    def eval(self) -> Guard:
        return self

    def to(self, device: str | torch.device) -> Guard:
        """Move host and patch to another device.

        Raises GuardBypass for a dtype: other weights are another host.
        """
        if not isinstance(device, (str, torch.device)):
            raise GuardBypass(
                f"to({device}) would change the host's weights.", "Train a patch for a host in that dtype."
            )
        self.host.model.to(device)
        self._move()
        return self

    def cuda(self) -> Guard:
        return self.to("cuda")

    def cpu(self) -> Guard:
        return self.to("cpu")

    def __getattr__(self, name: str) -> Any:
        raise GuardBypass(
            f"The guard does not hand out {name!r}: it may lead around the gate.",
            "Use generate, answer, stream or a call; guard.host is the unguarded host.",
        )

    def _move(self) -> None:
        self.patch.gate.to(self.host.device).eval()
        self.patch.encoder.to(self.host.device).eval()
