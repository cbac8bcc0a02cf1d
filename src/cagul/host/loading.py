"""From a checkpoint folder or hub name to model and processor, with errors that name what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from cagul.environment import require_extra
from cagul.errors import HostError, UnsupportedHost, reason
from cagul.host.families import family_of


def require_family(source: str | Path, unproven: bool) -> None:
    """Raises, before any weight is read, HostError where ``source`` holds no config, and UnsupportedHost for
    a family that is refused, not proven (unless ``unproven``), or unknown to transformers.
    """
    local = str(source).count("/") != 1 or str(source).startswith((".", "/", "~"))
    if local and not os.path.exists(source):
        raise HostError(
            f"There is no folder {source}.",
            "Give a checkpoint folder, or a hub name such as owner/name.",
            "host-load",
        )
    if os.path.exists(os.path.join(source, "adapter_config.json")):  # ignored in silence without peft
        require_extra("A host with adapters", "peft", "baselines")
    with _as_host_errors(source):
        model_type = AutoConfig.from_pretrained(source).model_type
    family_of(model_type, unproven=unproven)
    if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UnsupportedHost(
            f"Hosts of the family {model_type!r} are refused: transformers has no image-text-to-text "
            "model of it.",
            "Take a vision-language model.",
        )


def load_model(
    source: str | Path, device: str | None, dtype: torch.dtype | str, options: dict[str, Any]
) -> tuple[Any, Any]:
    """The model on ``device`` ("auto" spreads it over what there is) and its processor.

    Raises HostError when ``source`` does not load, lacks some of its weights, or does not go to ``device``.
    """
    if device == "auto":
        device, options = None, {"device_map": "auto"} | options
    with _as_host_errors(source):
        processor = AutoProcessor.from_pretrained(source)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            source, dtype=dtype, output_loading_info=True, **options
        )
    model, missing = loaded[0], sorted(loaded[1]["missing_keys"])
    try:
        model = model.to(device) if device else model
    except (RuntimeError, ValueError, AssertionError) as error:  # as it was built, spread or quantised
        raise HostError(
            f"{source} does not go to the device {device!r}: {reason(error)}.",
            "Leave --device out, or name one that torch has; `cagul doctor` lists what is there.",
            "host-load",
        ) from error
    if missing:
        raise HostError(
            f"{source} lacks {len(missing)} of its weights, the first is {missing[0]}; they would be random.",
            "Give a whole checkpoint.",
            "host-load",
        )
    return model, processor


@contextmanager
def _as_host_errors(source: str | Path) -> Iterator[None]:
    """Turn whatever breaks first when transformers meets a broken file into a HostError."""
    try:
        yield
    except Exception as error:
        raise HostError(
            f"{source} does not load as an image-text-to-text model: {reason(error)}.",
            "Give a checkpoint folder or hub name that transformers loads, with its processor.",
            "host-load",
        ) from error
