"""Who may come into a worker: so many requests, with so many pixels of opened pictures, waiting or at
work.
"""

from __future__ import annotations

from threading import Lock

from cagul.serving.options import Limits
from cagul.serving.refused import Refused


class Admission:
    """Counts what is in a worker; used from any thread."""

    def __init__(self, limits: Limits):
        self.limits, self.requests, self.pixels = limits, 0, 0
        self.lock = Lock()

    def enter(self) -> Place:
        """Raises Refused when as many requests as are allowed are in."""
        with self.lock:
            if self.requests >= self.limits.waiting:
                raise Refused(
                    429,
                    "too_many_requests",
                    f"{self.limits.waiting} requests wait already; try again in a second.",
                )
            self.requests += 1
        return Place(self)


class Place:
    """The place of one request, from when it came until nothing of it is in memory."""

    def __init__(self, admission: Admission):
        self._admission, self._pixels, self._left = admission, 0, False

    def hold(self, pixels: int) -> None:
        """Make room for a picture before it is opened. A request that is alone always has it: its own limits
        bound it.

        Raises Refused when other requests' pictures leave too little, or the place was given back meanwhile.
        """
        of = self._admission
        with of.lock:
            if self._left:
                raise Refused(503, "gone", "The request was given up.")
            if of.pixels > self._pixels and of.pixels + pixels > of.limits.waiting_pixels:
                raise Refused(
                    429,
                    "too_many_pixels",
                    f"Pictures of {of.pixels:,} pixels wait already, and {pixels:,} more would "
                    f"pass {of.limits.waiting_pixels:,}; try again in a second.",
                )
            of.pixels += pixels
            self._pixels += pixels

    def leave(self) -> None:
        """Give the place back, once."""
        with self._admission.lock:
            if not self._left:
                self._left = True
                self._admission.requests -= 1
                self._admission.pixels -= self._pixels
