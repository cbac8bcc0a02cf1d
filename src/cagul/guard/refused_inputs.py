"""Inputs and settings of a host that would lead around the gate: they are refused by name. Source: ours."""

from __future__ import annotations

from typing import Any

from cagul.errors import GuardBypass

REFUSED_INPUTS = {
    "inputs_embeds": "they may already hold visual tokens that the gate cannot see",
    "mm_encoder_outputs": "ready-made visual tokens would go around the gate",
    "assistant_model": "assisted decoding would ask a second, unguarded model",
    "prompt_lookup_num_tokens": "assisted decoding is not proven to apply the edit once",
    "assistant_early_exit": "assisted decoding is not proven to apply the edit once",
    "custom_generate": "a decoding loop of its own need not pass the gate",
    "prefill_chunk_size": "a chunked prefill would cut the question from its picture",
    "use_mtp": "assisted decoding is not proven to apply the edit once",
    "pixel_values_videos": "video input is not guarded",
    "vision_feature_layer": "the gate and the encoder know the host's own layer only",
    "vision_feature_select_strategy": "the gate and the encoder know the host's own strategy only",
}
REFUSED_SETTINGS = ("prompt_lookup_num_tokens", "prefill_chunk_size", "assistant_early_exit", "use_mtp")


def refuse(inputs: dict[str, Any], *settings: Any) -> None:
    """Raises GuardBypass for an input, or a setting of one of the generation configs ``settings``, that would
    lead around the gate.
    """
    for name, reason in REFUSED_INPUTS.items():
        given = inputs.get(name)
        if given is not None and given is not False:
            raise GuardBypass(f"{name} is refused: {reason}.", "Leave it out, or use guard.host knowingly.")
    for setting in settings:
        for name in REFUSED_SETTINGS:
            if getattr(setting, name, None) not in (None, False):
                raise GuardBypass(
                    f"generation_config.{name} is refused: {REFUSED_INPUTS[name]}.", "Set it to None."
                )
