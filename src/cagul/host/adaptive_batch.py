"""Work in batches that shrink when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from accelerate.utils.memory import release_memory, should_reduce_batch_size

from cagul.errors import HostError

Result = TypeVar("Result")
# oneDNN's words where it finds no memory for a matrix product's scratch space, and, seldom, for other reasons
NO_PRIMITIVE = "could not create a primitive"


class AdaptiveBatch:
    """How many items are worked on at once: halved, for good, whenever memory ran out."""

    def __init__(self, size: int):
        self.size = size

    def run(self, what: str, work: Callable[[int], Result]) -> Result:
        """``work(size)`` with the largest size that memory allows.

        Raises HostError when not even one item fits. Any other error passes through, and so does oneDNN's at
        one item, which need not be about memory.
        """
        while True:
            try:
                return work(self.size)
            except (RuntimeError, MemoryError) as error:
                unclear = NO_PRIMITIVE in str(error)
                known = isinstance(error, MemoryError) or should_reduce_batch_size(error)
                if not (known or unclear) or (unclear and self.size == 1):
                    raise
                if self.size == 1:
                    raise HostError(
                        f"Memory ran out while {what}, one at a time.",
                        "Set training.gradient_checkpointing=true, load the host in bfloat16, or free "
                        "memory.",
                        "memory",
                    ) from error
            self.size = (self.size + 1) // 2
            release_memory()
