"""What a killed training goes on from: one file, whole or not there, and known to be whole."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch

from cagul.files import write_bytes

DIGEST = 32  # bytes of SHA-256 before the payload


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain numbers. Raises WriteError; what was there before then stays."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    write_bytes(path, hashlib.sha256(payload).digest() + payload, 0o600)


def load_checkpoint(path: Path | None) -> dict[str, Any] | None:
    """The state that was saved; None where there is none. A torn file is removed with a warning: training
    starts over.
    """
    if path is None or not path.exists():
        return None
    data = path.read_bytes()
    if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
        warnings.warn(
            f"The checkpoint {path} is torn ({len(data)} bytes), so training starts over.", stacklevel=2
        )
        path.unlink()
        return None
    return torch.load(io.BytesIO(data[DIGEST:]), weights_only=True)
