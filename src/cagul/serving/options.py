"""What a server is started with. Picklable: each worker gets it whole."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from pathlib import Path

from cagul.errors import UsageError

# where workers put their numbers together; prometheus_client reads it when imported
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
EVERY_ORIGIN = "*"
_ORIGIN = re.compile(r"(https?|[a-z][a-z0-9+.-]*-extension)://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how many may be at work."""

    body: int = 20 * 2**20  # bytes
    pixels: int = 16_000_000  # of one picture
    images: int = 8  # of one request
    tokens: int = 512  # of one answer
    waiting: int = 64  # requests of one worker, waiting or at work
    choices: int = 4  # the largest n
    waiting_pixels: int = 256_000_000  # of the pictures of those requests; one that is alone may have more
    # bytes of their bodies, and of those that still come; one that is alone may have more
    waiting_body: int = 256 * 2**20


@dataclass(frozen=True)
class ServeOptions:
    """Where host and patch (or store) are, and how they are served. Raises UsageError for more choices than a
    batch has rows.

    ``keys`` are SHA-256 digests of the API keys; without one nobody is asked for a key. ``pad_latency`` (ms):
    answers leave at multiples of it after their question came; 0 sends them at once. ``cors_origins``:
    origins of web pages that may ask.
    """

    host: str
    patch: Path = Path()
    store: Path | None = None
    store_key: Path | None = None
    names_key: Path | None = None
    output_filter: bool = True
    name: str = "cagul"
    dtype: str = "auto"
    device: str | None = None
    threads: int = 1
    batch: int = 8
    batch_wait: float = 5.0  # ms
    pad_latency: float = 0.0
    log_text: bool = False
    keys: tuple[bytes, ...] = ()
    cors_origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.limits.choices > self.batch:
            raise UsageError(
                f"{self.limits.choices} choices of a request do not fit into a batch of {self.batch}.",
                "Give a smaller --max-choices or a larger --batch.",
                "serve",
            )


def digests(keys: list[str]) -> tuple[bytes, ...]:
    """SHA-256 digests of API keys. Raises UsageError for one that cannot stand in a header."""
    for number, key in enumerate(keys, 1):
        if len(key) < 16 or not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(
                f"API key {number} of {len(keys)} has {len(key)} characters, or some that no header takes.",
                "Use 16 or more letters and digits, such as `openssl rand -hex 24` prints.",
                "serve",
            )
    return tuple(hashlib.sha256(key.encode()).digest() for key in keys)


def knows_key(keys: tuple[bytes, ...], given: bytes) -> bool:
    """Whether ``given`` is one of the keys, in a time that does not depend on how much of it is right."""
    digest = hashlib.sha256(given).digest()
    known = False
    for key in keys:
        known |= hmac.compare_digest(key, digest)
    return known


def read_origins(given: list[str]) -> tuple[str, ...]:
    """Origins as browsers write them: in lower case, without the scheme's own port. Raises UsageError for
    what is no origin.
    """
    return tuple(dict.fromkeys(_origin(text) for text in given))


def _origin(text: str) -> str:
    if text == EVERY_ORIGIN:
        return text
    match = _ORIGIN.fullmatch(text.strip().lower().removesuffix("/"))
    if match is None:
        raise UsageError(
            f"{text!r} is no origin of a web page.",
            "Write scheme, host and port without a path, such as https://app.example:8443, or '*' for all.",
            "serve",
        )
    scheme, host, port = match.groups(default="")
    return f"{scheme}://{host}{'' if port == _DEFAULT_PORTS.get(scheme) else port}"
