"""Where visual tokens lie on their picture, by family."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

from torch import Tensor

from cagul.errors import HostError

if TYPE_CHECKING:
    from cagul.host.frozen import FrozenHost


@dataclass(frozen=True)
class TokenGrid:
    """``rows`` x ``columns`` tokens from number ``first`` on, in reading order, that cover ``box`` of the
    picture.

    ``box`` is (left, top, right, bottom) in pixels. Tokens outside belong to tiles, which show parts of it
    once more.
    """

    first: int
    rows: int
    columns: int
    box: tuple[int, int, int, int]


def grid_of(host: FrozenHost, inputs: dict[str, Tensor], tokens: int, size: tuple[int, int]) -> TokenGrid:
    """The grid of the only picture of ``inputs``, of ``size`` (width, height) pixels and so many visual
    tokens.

    Raises HostError when they do not lie as the family's are known to.
    """
    config, family = host.model.config, host.family
    whole = (0, 0, *size)
    if family.grid == "image_grid_thw":
        _, rows, columns = (int(n) for n in inputs["image_grid_thw"][0])
        merge = int(config.vision_config.spatial_merge_size)
        return _checked(TokenGrid(0, rows // merge, columns // merge, whole), tokens, family.model_type)
    if family.grid == "image_sizes":
        patch = int(config.vision_config.patch_size) * int(config.spatial_merge_size)
        height, width = (int(n) for n in inputs["image_sizes"][0])
        return _checked(TokenGrid(0, height // patch, width // patch, whole), tokens, family.model_type)
    if family.grid == "first tile":
        view = (int(config.vision_config.image_size) // int(config.vision_config.patch_size)) ** 2
        return _square(0, view, tokens, whole, family.model_type)
    if family.grid == "last tile":
        view = int(getattr(host.processor, "image_seq_length", None) or host.processor.image_seq_len)
        return _square(tokens - view, view, tokens, whole, family.model_type)
    crop = getattr(host.processor.image_processor, "do_center_crop", False)
    return _square(0, tokens, tokens, _middle(size) if crop else whole, family.model_type)


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What a centre crop to a square leaves."""
    edge = min(size)
    left, top = (size[0] - edge) // 2, (size[1] - edge) // 2
    return left, top, left + edge, top + edge


def _square(first: int, count: int, tokens: int, box: tuple[int, int, int, int], name: str) -> TokenGrid:
    side = isqrt(max(0, count))
    if side * side != count:
        return _checked(TokenGrid(first, 0, 0, box), tokens, name)
    return _checked(TokenGrid(first, side, side, box), tokens, name)


def _checked(grid: TokenGrid, tokens: int, name: str) -> TokenGrid:
    if grid.rows * grid.columns == 0 or grid.first < 0 or grid.first + grid.rows * grid.columns > tokens:
        raise HostError(
            f"The {tokens} visual tokens of this {name} host do not lie on the picture as expected "
            f"({grid.rows} x {grid.columns} from number {grid.first}).",
            "Leave --overlay out.",
            "overlay",
        )
    return grid
