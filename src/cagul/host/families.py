"""One row a family: a ``model_type`` that is proven by the contract tests, or a refusal with its reason.

The seam is transformers' own: ``get_image_features`` gives the projected visual tokens, ``mm_encoder_outputs`` takes
them back. A family without a row is refused by name: an edit that silently does nothing is the worst bug there is.
"""

from __future__ import annotations

from dataclasses import dataclass

from cagul.errors import UnsupportedHost, did_you_mean


@dataclass(frozen=True)
class Family:
    """How one family is reached. ``language_model`` is the attribute path from the outer model."""

    model_type: str
    language_model: str = "model.language_model"


PROVEN = {family.model_type: family for family in (Family("llava"),)}

REFUSED = {
    "mllama": "visual content enters by cross attention, so there are no visual tokens to rewrite",
    "instructblip": "its generate goes around its own forward, so an edit would be lost",
    "qwen3_vl": "its deepstack features also carry the picture past the tokens, and are not edited yet",
}


def family_of(model_type: str) -> Family:
    """The family of a ``model_type``.

    Raises UnsupportedHost, by name and with the reason, for every family that is not proven.
    """
    if model_type in PROVEN:
        return PROVEN[model_type]
    reason = REFUSED.get(model_type, "the contracts have not been proven for it")
    raise UnsupportedHost(f"Hosts of the family {model_type!r} are refused: {reason}.", did_you_mean(model_type, PROVEN))
