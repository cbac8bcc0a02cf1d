"""From a checkpoint folder or hub name to model and processor, with errors that name what is wrong."""

from __future__ import annotations

import logging
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
from cagul.host.checkpoint import (
    json_object,
    require_host_folder,
    require_whole_settings,
    require_whole_weights,
)
from cagul.host.families import family_of
from cagul.host.front import NoHead, cut


def require_family(source: str | Path, unproven: bool) -> None:
    """Raises, before any weight is read, HostError where ``source`` holds no config, and UnsupportedHost for
    a family that is refused, not proven (unless ``unproven``), or unknown to transformers.
    """
    folder = local_folder(source)
    if folder is not None:
        require_host_folder(folder)
        require_whole_settings(folder)
        if (folder / "adapter_config.json").exists():  # ignored in silence without peft
            require_extra("A host with adapters", "peft", "baselines")
    with _as_host_errors(source):
        model_type = AutoConfig.from_pretrained(base_of(source), trust_remote_code=False).model_type
    family_of(model_type, unproven=unproven)
    if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UnsupportedHost(
            f"Hosts of the family {model_type!r} are refused: transformers has no image-text-to-text "
            "model of it.",
            "Take a vision-language model.",
        )


def local_folder(source: str | Path) -> Path | None:
    """The folder or file that ``source`` names; none for a hub name. Raises HostError where neither is
    there.
    """
    if os.path.lexists(source):
        return Path(source)
    if str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise HostError(
            f"There is no folder {source}.",
            "Give a checkpoint folder, or a hub name such as owner/name.",
            "host-load",
        )
    return None


def base_of(source: str | Path) -> str | Path:
    """Where the config of a host is: in an adapter's folder it is the base model's.

    Raises HostError (adapter) where the adapter names no base, or a folder that is not there.
    """
    file = Path(source) / "adapter_config.json"
    if not file.exists() or (Path(source) / "config.json").exists():
        return source
    base = json_object(file).get("base_model_name_or_path")
    if not isinstance(base, str) or not base or base == str(source):
        raise HostError(
            f"{source} is an adapter, and its adapter_config.json names no base model.",
            "Write base_model_name_or_path there, or give the merged model.",
            "adapter",
        )
    try:
        folder = local_folder(base)
        if folder is not None:
            require_host_folder(folder)
            require_whole_settings(folder)
            require_whole_weights(folder)
    except HostError as error:
        raise HostError(
            f"{source} is an adapter whose base model does not load: {error.what}",
            "Write the base's place in base_model_name_or_path of adapter_config.json, or give the "
            "merged model.",
            "adapter",
        ) from error
    return base


def load_front(
    source: str | Path,
    layers: int | None,
    device: str | None,
    dtype: torch.dtype | str,
    options: dict[str, Any],
) -> tuple[Any, Any]:
    """The front of a host on ``device`` and the host's processor: no tensor of its later layers is read.

    Raises as ``load_model`` does, HostError (front) for an adapter, UsageError for more layers than there
    are.
    """
    if (Path(source) / "adapter_config.json").exists():
        raise HostError(
            f"{source} is an adapter, of which no front can be loaded.", "Give the merged model.", "front"
        )
    with _as_host_errors(source):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    cut(config, layers)
    with _without_report():
        model, processor = load_model(source, device, dtype, {"config": config} | options)
    model.set_output_embeddings(NoHead())
    return model, processor


def load_model(
    source: str | Path, device: str | None, dtype: torch.dtype | str, options: dict[str, Any]
) -> tuple[Any, Any]:
    """The model on ``device`` ("auto" spreads it over what there is) and its processor.

    Raises HostError when ``source`` does not load, lacks some of its weights, or does not go to ``device``.
    """
    if device == "auto":
        device, options = None, {"device_map": "auto"} | options
    if (folder := local_folder(source)) is not None:
        require_whole_weights(folder)
    with _as_host_errors(source):
        processor = _processor(source)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            source, dtype=dtype, output_loading_info=True, trust_remote_code=False, **options
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


def _processor(source: str | Path) -> Any:
    """The processor beside the weights; of an adapter without one its base's."""
    base = base_of(source)
    own = any(
        (Path(source) / name).exists() for name in ("processor_config.json", "preprocessor_config.json")
    )
    return AutoProcessor.from_pretrained(source if own else base, trust_remote_code=False)


@contextmanager
def _without_report() -> Iterator[None]:
    """Inside the block transformers does not report the tensors of a checkpoint that a model leaves out."""
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _as_host_errors(source: str | Path) -> Iterator[None]:
    """Turn whatever breaks first when transformers meets a broken file into a HostError."""
    try:
        yield
    except HostError:
        raise
    except Exception as error:
        what = f"{source} does not load as an image-text-to-text model: {reason(error)}."
        if "trust_remote_code" in str(error):
            raise HostError(
                what,
                "cagul runs no code of a checkpoint: give a model that transformers knows.",
                "remote-code",
            ) from error
        if isinstance(error, ImportError):
            raise HostError(
                what,
                "Install the package that it needs, or give a checkpoint without it.",
                "host-needs-package",
            ) from error
        raise HostError(
            what,
            "Give a checkpoint folder or hub name that transformers loads, with its processor.",
            "host-load",
        ) from error
