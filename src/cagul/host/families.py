"""One row a family, proven by the contract tests, with all that is particular to it; or a refusal with its
reason.

Visual tokens are reached by transformers' own way: ``get_image_features`` gives the projected ones,
``mm_encoder_outputs`` takes them back. A family without a row is refused by name: an edit that silently does
nothing is the worst bug there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cagul.errors import UnsupportedHost, did_you_mean


@dataclass(frozen=True)
class Family:
    """All that is particular to one family; the defaults are LLaVA's.

    ``model_type``: that of the outer config.
    ``text_models``: those of the language models behind it with which the contract tests have run. Over
    another one the family is not ``proven`` and is asked the contracts.
    ``title``: its name for people.
    ``language_model``: the attribute path from the outer model.
    ``pictures``: which tokens are one picture: an ``entry`` of the image output, a ``run`` of placeholders
    without a gap, or all up to and with the ``global`` tile.
    ``pixel_keys``: inputs that only ``get_image_features`` reads, left out where visual tokens are given.
    ``picture_keys``: inputs with a row for each picture that the language model reads too.
    ``token_types``: inputs without which the host degrades in silence, with their value on answer tokens.
    ``grid``: how a picture's visual tokens lie on it: ``square``: all of them in one; ``first tile``, ``last
    tile``: this square tile shows the whole picture; ``image_grid_thw``, ``image_sizes``: rows and columns as
    this input says.
    ``projector``: the parts between vision tower and language model, which finetuning trains too.
    """

    model_type: str
    title: str
    text_models: tuple[str, ...] = ("llama",)
    language_model: str = "model.language_model"
    pictures: Literal["entry", "run", "global"] = "entry"
    pixel_keys: tuple[str, ...] = ("pixel_values", "image_sizes")
    picture_keys: tuple[str, ...] = ()
    token_types: dict[str, int] = field(default_factory=dict)
    grid: Literal["square", "first tile", "last tile", "image_grid_thw", "image_sizes"] = "square"
    projector: tuple[str, ...] = ("model.multi_modal_projector",)
    proven: bool = True


_MERGER = ("model.visual.merger",)
_LLAVA_NEXT = Family("llava_next", "LLaVA-NeXT", grid="first tile")
_QWEN = Family(
    "qwen2_vl",
    "Qwen2-VL",
    text_models=("qwen2_vl_text",),
    pixel_keys=("pixel_values",),
    picture_keys=("image_grid_thw",),
    token_types={"mm_token_type_ids": 0},
    grid="image_grid_thw",
    projector=_MERGER,
)
_IDEFICS = Family(
    "idefics3",
    "Idefics3",
    language_model="model.text_model",
    pictures="global",
    pixel_keys=("pixel_values", "pixel_attention_mask"),
    grid="last tile",
    projector=("model.connector",),
)
_GEMMA = Family(
    "gemma3",
    "Gemma 3",
    text_models=("gemma3_text",),
    pixel_keys=("pixel_values",),
    token_types={"token_type_ids": 0},
)

PROVEN = {
    family.model_type: family
    for family in (
        Family("llava", "LLaVA"),
        _LLAVA_NEXT,
        replace(
            _LLAVA_NEXT,
            model_type="llava_onevision",
            title="LLaVA-OneVision",
            text_models=("qwen2",),
            pixel_keys=("pixel_values", "image_sizes", "batch_num_images"),
        ),
        _QWEN,
        replace(_QWEN, model_type="qwen2_5_vl", title="Qwen2.5-VL", text_models=("qwen2_5_vl_text",)),
        replace(
            _QWEN,
            model_type="qwen3_vl",
            title="Qwen3-VL",
            text_models=("qwen3_vl_text",),
            projector=(*_MERGER, "model.visual.deepstack_merger_list"),
        ),
        _IDEFICS,
        replace(_IDEFICS, model_type="smolvlm", title="SmolVLM"),
        Family("internvl", "InternVL", text_models=("qwen2",), pictures="run", grid="last tile"),
        _GEMMA,
        replace(
            _GEMMA,
            model_type="paligemma",
            title="PaliGemma",
            text_models=("gemma",),
            token_types={"token_type_ids": 1},
        ),
        Family("mistral3", "Mistral 3", text_models=("mistral",), grid="image_sizes"),
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

# what processors of families without a row write, and what becomes of it
_TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")
_PICTURE_KEYS = ("image_grid_thw",)
_PIXEL_KEYS = ("pixel_values", "pixel_attention_mask", "image_sizes", "batch_num_images", "num_crops")


def family_of(model_type: str, *, unproven: bool = False) -> Family:
    """The family of a ``model_type``. With ``unproven`` one without a row is taken to be like LLaVA, to be
    selfchecked.

    Raises UnsupportedHost, by name and with the reason, for a family that is refused and for one that is not
    proven.
    """
    if model_type in PROVEN:
        return PROVEN[model_type]
    if unproven and model_type not in REFUSED:
        return Family(model_type, model_type, text_models=(), proven=False)
    reason = REFUSED.get(model_type, "the contracts have not been proven for it")
    raise UnsupportedHost(
        f"Hosts of the family {model_type!r} are refused: {reason}.", did_you_mean(model_type, PROVEN)
    )


def of_host(family: Family, model: Any, processor: Any, *, unproven: bool = False) -> Family:
    """The family as it is in one host: an unproven one with what its model and processor show, a proven one
    over another language model as unproven.

    Raises UnsupportedHost when the model has no visual tokens to reach: no image features, no language model
    behind them; and, without ``unproven``, for a proven family over a language model that is not.
    """
    if not family.proven:
        return _guessed(family, model, processor)
    text_model = model.get_submodule(family.language_model).config.model_type
    if text_model in family.text_models:
        return family
    if not unproven:
        raise UnsupportedHost(
            f"{family.title} over the language model {text_model!r} is refused: the contracts have been "
            f"proven for it over {', '.join(family.text_models)}.",
            "Load it with cagul.load_host, which asks this host the contracts.",
        )
    return replace(family, proven=False)


def _guessed(family: Family, model: Any, processor: Any) -> Family:
    """Where an unproven family seems to keep its language model and which inputs its processor writes."""
    inner = getattr(model, "model", None)
    part = next((name for name in ("language_model", "text_model") if hasattr(inner, name)), None)
    if part is None or not hasattr(inner, "get_image_features"):
        raise UnsupportedHost(
            f"Hosts of the family {family.model_type!r} are refused: they have no language model behind "
            "get_image_features.",
            did_you_mean(family.model_type, PROVEN),
        )
    written = getattr(processor, "model_input_names", ())
    return replace(
        family,
        language_model=f"model.{part}",
        pixel_keys=_PIXEL_KEYS,
        picture_keys=tuple(name for name in _PICTURE_KEYS if name in written),
        token_types={name: 0 for name in _TOKEN_TYPES if name in written},
        grid="image_grid_thw" if "image_grid_thw" in written else "square",
    )
