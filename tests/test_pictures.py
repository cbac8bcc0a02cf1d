from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

import cagul.data.pictures
from cagul.data.pictures import augment_picture, open_picture
from cagul.errors import DataError
from helpers import picture


def test_rotation_alpha_palette_and_sixteen_bits(tmp_path):
    base = picture(0, (40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    base.save(tmp_path / "exif.jpg", exif=exif)
    assert open_picture(tmp_path / "exif.jpg").size == (20, 40)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "alpha.png")
    assert open_picture(tmp_path / "alpha.png").getpixel((0, 0)) == (255, 255, 255)
    base.convert("P").save(tmp_path / "palette.gif")
    assert open_picture(tmp_path / "palette.gif").mode == "RGB"
    Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert open_picture(tmp_path / "deep.png").getpixel((0, 0)) == (156, 156, 156)


def test_what_is_no_picture(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="There is no picture"):
        open_picture(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(DataError, match="cannot be read as a picture"):
        open_picture(tmp_path / "text.png")
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read as a picture"):
        open_picture(tmp_path / "cut.png")
    monkeypatch.setattr(cagul.data.pictures, "MAX_PIXELS", 100)
    with pytest.raises(DataError, match="has 40 x 32 pixels, more than 100"):
        open_picture(tmp_path / "a.png")


def test_augmentation_is_seeded_and_keeps_the_size():
    base = picture(0)
    one, same, other = (augment_picture(base, random.Random(seed)) for seed in (0, 0, 1))
    assert one.size == base.size
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
