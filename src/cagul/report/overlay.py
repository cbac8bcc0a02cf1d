"""A picture with what a question looks at laid over it: importance as shade, rewritten tokens as frames. No
torch here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PIL import Image, ImageDraw

SMALLEST = 480  # pixels along the shorter edge
SHADE, FRAME, HALO = (0, 114, 178), (213, 94, 0), (255, 255, 255)  # Okabe and Ito's blue and vermilion


def draw_overlay(
    picture: Image.Image,
    importance: Sequence[float],
    rows: int,
    columns: int,
    box: tuple[int, int, int, int],
    chosen: Collection[int] = (),
) -> Image.Image:
    """``importance`` of rows x columns tokens in reading order over ``box`` of the picture; the most
    important is the darkest blue, tokens of ``chosen`` have a frame.
    """
    scale = max(1, -(-SMALLEST // min(picture.size)))
    shown = picture.convert("RGB").resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.LANCZOS
    )
    left, top, right, bottom = (edge * scale for edge in box)
    low, high = min(importance), max(importance)
    shade = Image.new("L", shown.size)
    pen = ImageDraw.Draw(shade)
    cells = []
    for number, value in enumerate(importance):
        row, column = divmod(number, columns)
        x, y = left + (right - left) * column / columns, top + (bottom - top) * row / rows
        cell = (
            round(x),
            round(y),
            round(x + (right - left) / columns) - 1,
            round(y + (bottom - top) / rows) - 1,
        )
        pen.rectangle(cell, fill=round(170 * (value - low) / ((high - low) or 1.0)))
        cells.append(cell)
    shown.paste(Image.new("RGB", shown.size, SHADE), mask=shade)
    pen = ImageDraw.Draw(shown)
    for number in sorted(chosen):
        x0, y0, x1, y1 = cells[number]
        pen.rectangle((x0, y0, x1, y1), outline=HALO, width=3)
        pen.rectangle((x0 + 1, y0 + 1, x1 - 1, y1 - 1), outline=FRAME, width=2)
    return shown
