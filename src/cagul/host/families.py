"""One row a family: a ``model_type`` that is proven by the contract tests, or a refusal with its reason.

The seam is transformers' own: ``get_image_features`` gives the projected visual tokens,
``mm_encoder_outputs`` takes them back. A family without a row is refused by name: an edit that silently does
nothing is the worst bug there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cagul.errors import UnsupportedHost, did_you_mean


@dataclass(frozen=True)
class Family:
    """How one family is reached.

    ``language_model`` is the attribute path from the outer model. ``pictures`` says which tokens are one
    picture: an ``entry`` of the image output, a ``run`` of placeholders without a gap, or all up to and with
    the ``global`` tile. ``token_types`` are inputs without which the host degrades in silence, with their
    value on answer tokens. ``projector`` are the parts between vision tower and language model, which
    finetuning moves too.
    """

    model_type: str
    title: str
    language_model: str = "model.language_model"
    pictures: Literal["entry", "run", "global"] = "entry"
    token_types: dict[str, int] = field(default_factory=dict)
    proven: bool = True
    projector: tuple[str, ...] = ("model.multi_modal_projector",)


_QWEN = {"mm_token_type_ids": 0}
_TEXT_MODEL = "model.text_model"
_MERGER = ("model.visual.merger",)
_CONNECTOR = ("model.connector",)

PROVEN = {
    family.model_type: family
    for family in (
        Family("llava", "LLaVA"),
        Family("llava_next", "LLaVA-NeXT"),
        Family("llava_onevision", "LLaVA-OneVision"),
        Family("qwen2_vl", "Qwen2-VL", token_types=_QWEN, projector=_MERGER),
        Family("qwen2_5_vl", "Qwen2.5-VL", token_types=_QWEN, projector=_MERGER),
        Family(
            "qwen3_vl",
            "Qwen3-VL",
            token_types=_QWEN,
            projector=(*_MERGER, "model.visual.deepstack_merger_list"),
        ),
        Family("idefics3", "Idefics3", _TEXT_MODEL, "global", projector=_CONNECTOR),
        Family("smolvlm", "SmolVLM", _TEXT_MODEL, "global", projector=_CONNECTOR),
        Family("internvl", "InternVL", pictures="run"),
        Family("gemma3", "Gemma 3", token_types={"token_type_ids": 0}),
        Family("paligemma", "PaliGemma", token_types={"token_type_ids": 1}),
        Family("mistral3", "Mistral 3"),
    )
}

_CROSS = "visual content enters by cross attention, so there are no visual tokens to rewrite"
_AROUND = "its generate goes around its own forward, so an edit would be lost"
_NO_LANGUAGE_MODEL = "it has no language model of its own behind the visual tokens"

REFUSED = {
    "mllama": _CROSS,
    "idefics": _CROSS,
    "blip": _CROSS,
    "vision-encoder-decoder": _CROSS,
    "instructblip": _AROUND,
    "instructblipvideo": _AROUND,
    "blip-2": _AROUND,
    "kosmos-2": _AROUND,
    "git": _NO_LANGUAGE_MODEL,
    "pix2struct": _NO_LANGUAGE_MODEL,
    "udop": _NO_LANGUAGE_MODEL,
}


TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")


def family_of(model_type: str, *, unproven: bool = False) -> Family:
    """The family of a ``model_type``. With ``unproven`` one without a row is taken to be like LLaVA, to be
    selfchecked.

    Raises UnsupportedHost, by name and with the reason, for a family that is refused and for one that is not
    proven.
    """
    if model_type in PROVEN:
        return PROVEN[model_type]
    if unproven and model_type not in REFUSED:
        return Family(model_type, model_type, proven=False)
    reason = REFUSED.get(model_type, "the contracts have not been proven for it")
    raise UnsupportedHost(
        f"Hosts of the family {model_type!r} are refused: {reason}.", did_you_mean(model_type, PROVEN)
    )


def guessed(family: Family, model: Any, processor: Any) -> Family:
    """Where an unproven family seems to keep its language model and which token types its processor writes.

    Raises UnsupportedHost when the model has no seam at all: no image features, no language model behind
    them.
    """
    inner = getattr(model, "model", None)
    found = next((name for name in ("language_model", "text_model") if hasattr(inner, name)), None)
    if found is None or not hasattr(inner, "get_image_features"):
        raise UnsupportedHost(
            f"Hosts of the family {family.model_type!r} are refused: they have no language model behind "
            "get_image_features.",
            did_you_mean(family.model_type, PROVEN),
        )
    written = getattr(processor, "model_input_names", ())
    return replace(
        family,
        language_model=f"model.{found}",
        token_types={name: 0 for name in TOKEN_TYPES if name in written},
    )
