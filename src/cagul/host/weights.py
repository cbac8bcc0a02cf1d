"""A host's weights as they are in memory: the model below its wrappers, where it runs, and the digest of all
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn

from cagul.errors import UnsupportedHost

CHUNK = 2**26  # bytes that are brought to the CPU and hashed at once


def unwrapped(model: Any) -> Any:
    """The transformers model itself. One with PEFT layers inside is a host of its own: base, adapters and
    what is merged.

    Raises UnsupportedHost for a wrapper whose doing would be lost without it: prompt learning of PEFT,
    ``torch.compile``.
    """
    if isinstance(model, torch._dynamo.OptimizedModule):
        raise UnsupportedHost(
            "The host is wrapped by torch.compile, and generate would go around the wrapper.",
            "Compile it in place: model.compile().",
        )
    if not hasattr(model, "peft_config"):
        return model
    learned = sorted(name for name, config in model.peft_config.items() if config.is_prompt_learning)
    if learned:
        raise UnsupportedHost(
            f"The PEFT adapter {learned[0]!r} learns prompts, which move where pictures stand in a prompt.",
            "Take a host with adapters inside its layers, such as LoRA.",
        )
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def device_of(model: nn.Module) -> torch.device:
    """Where inputs go. Weights that accelerate has offloaded lie on the meta device; its hooks know where
    they run.
    """
    device = next(model.parameters()).device
    if device.type != "meta":
        return device
    hooks = [getattr(module, "_hf_hook", None) for module in model.modules()]
    execution = next(
        (where for hook in hooks if (where := getattr(hook, "execution_device", None)) is not None), "cpu"
    )
    return torch.device(execution)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers, sorted by name.

    It is of the weights in memory, so how a checkpoint is cut into files, saved again or spread over devices
    and disk does not matter. Nothing larger than one tensor is copied; what is offloaded is fetched tensor by
    tensor.
    """
    digest = hashlib.sha256()
    for name, tensor in _tensors(model):
        _add(digest, name, tensor)
    return digest.hexdigest()


def tensor_digests(model: nn.Module) -> dict[str, str]:
    """The same of each parameter and buffer alone, by its name."""
    digests = {}
    for name, tensor in _tensors(model):
        digest = hashlib.sha256()
        _add(digest, name, tensor)
        digests[name] = digest.hexdigest()
    return digests


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, sorted by name; what is offloaded comes to the CPU."""
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        owner, _, leaf = name.rpartition(".")
        if tensor.is_meta:
            with align_module_device(module := model.get_submodule(owner), torch.device("cpu")):
                yield name, getattr(module, leaf)
        else:
            yield name, tensor


def _add(digest: Any, name: str, tensor: Tensor) -> None:
    for label, part in _plain(name, tensor.detach()):
        digest.update(f"{label} {part.dtype} {tuple(part.shape)}".encode())
        flat = part.contiguous().reshape(-1)
        step = max(1, CHUNK // flat.element_size())
        for start in range(0, len(flat), step):
            digest.update(flat[start : start + step].cpu().view(torch.uint8).numpy())


def _plain(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor, or the tensors that a quantised one (a subclass, such as torchao's) is made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield name, tensor
        return
    parts, how = tensor.__tensor_flatten__()
    # the same bytes may be computed with in several ways
    yield f"{name} {type(tensor).__name__} {how}", torch.empty(0)
    for part in parts:
        yield from _plain(f"{name}.{part}", getattr(tensor, part))
