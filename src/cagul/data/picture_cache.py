"""Decoded pictures that are used again and again, within a bound of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Generic, TypeVar

from PIL import Image

MOST_BYTES = 256 * 2**20
Key = TypeVar("Key", bound=Hashable)


class PictureCache(Generic[Key]):
    """Opens pictures by ``open_one`` and keeps the last used ones, at most ``most_bytes`` of pixels.

    A cache belongs to one piece of work and ends with it: as a context manager it is emptied at the end, so
    that pictures of forgotten people do not outlive their use. A picture larger than the bound is not kept.
    """

    def __init__(self, open_one: Callable[[Key], Image.Image], most_bytes: int = MOST_BYTES):
        self.open_one, self.most_bytes = open_one, most_bytes
        self.bytes = 0
        self._kept: OrderedDict[Key, Image.Image] = OrderedDict()

    def __call__(self, key: Key) -> Image.Image:
        """The picture of ``key``. Raises what ``open_one`` raises."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        picture = self.open_one(key)
        size = bytes_of(picture)
        if size <= self.most_bytes:
            self._kept[key] = picture
            self.bytes += size
        while self.bytes > self.most_bytes:
            self.bytes -= bytes_of(self._kept.popitem(last=False)[1])
        return picture

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        self._kept.clear()
        self.bytes = 0

    def __enter__(self) -> PictureCache[Key]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()


def bytes_of(picture: Image.Image) -> int:
    """Bytes of a decoded picture's pixels; 8 bits a band, as ``open_picture`` gives them."""
    return picture.width * picture.height * len(picture.getbands())
