"""The secret of a store: a file of its own. It rotates the metric space of enrolled vectors and seals what is
stored.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

import numpy as np
import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jaxtyping import Float
from torch import Tensor

from cagul.errors import StoreError, UsageError, reason
from cagul.files import read_secret
from cagul.guard.key_files import keep_secret

NONCE = 12  # bytes


def fingerprint_of(mark: str) -> str:
    """The first 16 digits of the mark that a key puts on its store."""
    return mark[:16]


def next_key_path(path: Path) -> Path:
    """Where the key lies that takes the place of the one in ``path``: beside the file that a link names."""
    real = Path(os.path.realpath(path))
    return real.with_name(f"{real.name}.new")


def _require_path(path: Path) -> None:
    """Raises UsageError, which does not repeat it, for what is a key and no path."""
    if re.fullmatch(r"\s*[0-9a-fA-F]{64}\s*", str(path)):
        raise UsageError(
            "--key is a key, not the path of a key file.",
            "Give the path of the file that holds it, with --key or CAGUL_STORE_KEY.",
            "store-key",
        )


class StoreKey:
    """32 secret bytes, and what is derived from them. ``names_secret`` keys the hashes of names: it follows
    from the first key of a store and stays when the key is changed, as names cannot be hashed again. ``path``
    is the key's file, where there is one.
    """

    def __init__(self, secret: bytes, names_secret: bytes | None = None, path: Path | None = None):
        self._secret, self.path = secret, path
        self._box = AESGCM(self.derived("seal"))
        self.names_secret = names_secret or self.derived("names")

    def with_names(self, names_secret: bytes) -> StoreKey:
        return StoreKey(self._secret, names_secret, self.path)

    def is_same(self, other: StoreKey) -> bool:
        return hmac.compare_digest(self._secret, other._secret)

    @classmethod
    def create(cls, path: Path) -> StoreKey:
        """The key in ``path``, made (mode 0600) if there is none. Raises as ``load`` does, before anything is
        written.
        """
        _require_path(path)
        keep_secret(path, lambda: secrets.token_hex(32).encode() + b"\n")
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> StoreKey:
        """Raises StoreError when there is no key file or it holds no key, UsageError for one that others can
        read and for the key itself in place of its path.
        """
        _require_path(path)
        try:
            secret = bytes.fromhex(read_secret(path).decode("ascii"))
        except OSError as error:
            raise StoreError(
                f"Cannot read the key {path}: {reason(error)}.",
                "Give the key file that the store was made with. Without it nothing enrolled can be used.",
                "store-key",
            ) from None
        except ValueError:
            secret = b""
        if len(secret) != 32:
            raise StoreError(
                f"{path} holds no key of 32 bytes in hexadecimal.",
                "Give the key file that the store was made with; for a new store name a file that is not "
                "there yet.",
                "store-key",
            )
        return cls(secret, path=path)

    def next(self) -> StoreKey | None:
        """The key that `rotate-key` makes beside this one's file, while that lies there."""
        place = None if self.path is None else next_key_path(self.path)
        return StoreKey.load(place) if place is not None and place.exists() else None

    def mark(self, text: str, purpose: str = "mark") -> str:
        """A keyed hash: nobody without the key can make it, nor take it for one of another purpose."""
        return hmac.new(self.derived(purpose), text.encode(), hashlib.sha256).hexdigest()

    def rotation(self, size: int) -> Float[Tensor, "M M"]:
        """A secret orthogonal map of the metric space: cosine similarities stay, directions mean nothing
        without the key.
        """
        seed = int.from_bytes(self.derived(f"rotation {size}"), "big")
        gauss = np.random.Generator(np.random.PCG64(seed)).standard_normal((size, size))
        basis, upper = np.linalg.qr(gauss)
        return torch.from_numpy((basis * np.sign(np.diag(upper))).astype(np.float32))

    def seal(self, data: bytes, label: str) -> bytes:
        """Encrypt (AES-256-GCM, a fresh nonce) what belongs to ``label``."""
        nonce = secrets.token_bytes(NONCE)
        return nonce + self._box.encrypt(nonce, data, label.encode())

    def open(self, sealed: bytes, label: str) -> bytes:
        """Raises StoreError when the bytes are not what this key has sealed for ``label``."""
        try:
            return self._box.decrypt(sealed[:NONCE], sealed[NONCE:], label.encode())
        except (InvalidTag, ValueError):
            raise StoreError(
                f"What the store holds for {label} was changed.",
                "Restore the store from a backup.",
                "store-changed",
            ) from None

    def seal_tensor(self, tensor: Tensor, label: str) -> bytes:
        return self.seal(tensor.detach().cpu().contiguous().numpy().tobytes(), label)

    def open_tensor(self, sealed: bytes, label: str, width: int = 0) -> Tensor:
        """Float32 numbers, in rows of ``width`` where one is given."""
        flat = torch.frombuffer(bytearray(self.open(sealed, label)), dtype=torch.float32)
        return flat.reshape(-1, width) if width else flat

    def derived(self, purpose: str) -> bytes:
        """32 bytes that follow from the key, for one purpose alone."""
        return hmac.new(self._secret, f"cagul {purpose}".encode(), hashlib.sha256).digest()
