from __future__ import annotations

import os
import random
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image

import cagul.data.pictures
from cagul.data.augmentation import augment_picture
from cagul.data.pictures import open_picture, picture_header, read_picture
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


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_exif_turn_is_undone_to_the_pixel(tmp_path, turn):
    upright = picture(0, (6, 4))
    way = Image.Transpose
    made = {
        2: way.FLIP_LEFT_RIGHT,
        3: way.ROTATE_180,
        4: way.FLIP_TOP_BOTTOM,
        5: way.TRANSPOSE,
        6: way.ROTATE_90,
        7: way.TRANSVERSE,
        8: way.ROTATE_270,
    }
    turned = upright.transpose(made[turn]) if turn > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(open_picture(tmp_path / "turned.png"), upright)


def test_pixels_of_every_mode(tmp_path):
    """Half-clear red on white, palettes with and without a clear entry, grey with alpha, CMYK, one bit, 16
    bits.
    """

    def pixels(made, name="a.png", **options):
        made.save(tmp_path / name, **options)
        return np.asarray(open_picture(tmp_path / name))[0].tolist()

    assert pixels(Image.new("RGBA", (1, 1), (255, 0, 0, 51))) == [[255, 204, 204]]
    assert pixels(Image.new("LA", (1, 1), (0, 51))) == [[204, 204, 204]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    assert pixels(palette) == [[10, 20, 30], [0, 255, 0]]
    assert pixels(palette, transparency=1) == [[10, 20, 30], [255, 255, 255]]
    assert pixels(palette, "a.gif", transparency=1) == [[10, 20, 30], [255, 255, 255]]
    assert pixels(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3)) == [[255, 255, 255]]
    assert pixels(Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "a.tif") == [[0, 0, 0]]
    assert pixels(Image.new("1", (1, 1), 1)) == [[255, 255, 255]]
    deep = Image.fromarray(np.array([[0, 256, 40000, 65535]], dtype=np.uint16))
    grey = [[0, 0, 0], [1, 1, 1], [156, 156, 156], [255, 255, 255]]
    assert pixels(deep) == pixels(deep, "a.tif") == grey
    assert pixels(deep, transparency=256) == [grey[0], grey[3], *grey[2:]]


@pytest.mark.parametrize(("kind", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_pixels_of_an_unknown_range_are_refused(tmp_path, kind, mode):
    Image.fromarray(np.full((4, 4), 0.5, dtype=kind)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a.tif has 32-bit pixels \(mode {mode}\).*\n.*8 or 16 bits"):
        open_picture(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("side", "says"),
    [(9000, "has 9000 x 9000 pixels, more than 64,000,000"), (60000, "has more than 64,000,000 pixels")],
)
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, side, says):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(DataError, match=f"bomb.png {says}"):
        open_picture(tmp_path / "bomb.png")


def test_other_places_that_hold_no_picture(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "zero.png").touch()
    for name in ("folder.png", "loop.png", "zero.png", "a\0b.png", "a" * 300):
        with pytest.raises(DataError, match="cannot be read as a picture|no picture"):
            open_picture(tmp_path / name)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "webp", "tif", "bmp"])
def test_broken_files_raise_nothing_else(tmp_path, kind):
    path, rng = tmp_path / f"a.{kind}", random.Random(kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0).save(path, **({"exif": exif} if kind in ("png", "jpg", "webp", "tif") else {}))
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        broken = bytearray(whole[: rng.choice([len(whole), rng.randrange(len(whole))])])
        for _ in range(rng.randint(0, 6)):
            broken[rng.randrange(min(len(broken), 400))] = rng.randrange(256)
        path.write_bytes(broken)
        try:
            assert open_picture(path).mode == "RGB"
        except DataError:
            refused += 1
    assert 0 < refused < 150


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


# -- what phones, scanners and clouds send

TURNED = {"exif": bytes.fromhex("45786966000049492a0008000000010012010300010000000600000000000000")}
PHOTOGRAPHS = {
    "a.jpg": {"quality": 95},
    "a.jfif": {"format": "JPEG", "quality": 95},
    "a.png": {},
    "a.webp": {"lossless": True},
    "a.heic": {"quality": 95},
    "a.avif": {"quality": 95},
    "a.tif": {"compression": "tiff_lzw"},
    "a.tiff": {},
    "a.bmp": {},
    "a.jp2": {},
    "a.ppm": {},
    "a.mpo": {"quality": 95},
    "no-suffix": {"format": "PNG"},
    "wrong.png": {"format": "JPEG", "quality": 95},
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_every_form_of_photograph_opens_alike(tmp_path, name):
    pillow_heif.register_heif_opener()
    base = Image.new("RGB", (48, 32), (200, 40, 60))
    base.paste((20, 90, 200), (0, 0, 24, 32))
    base.save(tmp_path / name, **PHOTOGRAPHS[name])
    opened = open_picture(tmp_path / name)
    assert (opened.mode, opened.size) == ("RGB", (48, 32))
    assert np.abs(np.asarray(opened, int) - np.asarray(base, int)).mean() < 3
    assert picture_header(tmp_path / name).frames == 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.heic", "a.avif", "a.tif", "a.mpo"])
def test_a_turn_by_exif_is_undone_in_every_form(tmp_path, name):
    pillow_heif.register_heif_opener()
    picture(0, (48, 32)).save(tmp_path / name, **TURNED)
    assert open_picture(tmp_path / name).size == (32, 48)
    assert read_picture((tmp_path / name).read_bytes(), name).size == (32, 48)


def test_of_several_frames_the_first_is_shown(tmp_path):
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    for name in ("a.gif", "a.tif", "a.webp", "a.png"):
        red.save(tmp_path / name, save_all=True, append_images=[blue], **LOSSLESS.get(name, {}))
        assert open_picture(tmp_path / name).getpixel((0, 0)) == (255, 0, 0)
        assert picture_header(tmp_path / name).frames == 2
        with pytest.raises(DataError, match="has several frames"):
            read_picture((tmp_path / name).read_bytes(), name, still=True)


LOSSLESS = {"a.webp": {"lossless": True}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "git-lfs pointer.*git lfs pull",
        ),
        (b"<!DOCTYPE html><html></html>", "an HTML page.*login"),
        (b"\xef\xbb\xbf \n<HTML>", "an HTML page"),
        (b"<svg xmlns='x'/>", "an SVG drawing.*PNG"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", r"AppleDouble file.*named \._\*"),
        (b"bplist00\xd1", "iCloud placeholder.*Download"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04", "a zip archive"),
        (b"", "it is empty"),
        (b"Ada Finch", "its format is not known.*HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "its format is not known"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, AVIF"),
    ],
)
def test_what_is_no_picture_is_told_by_its_content(tmp_path, content, says):
    (tmp_path / "a.jpg").write_bytes(content)
    for call in (open_picture, picture_header):
        with pytest.raises(DataError, match=f"(?s)a.jpg cannot be read as a picture: .*{says}"):
            call(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=f"(?s)b.jpg cannot be read as a picture: .*{says}"):
        picture_header(content, "b.jpg")


def test_a_pipe_is_not_waited_for_and_a_refusal_is_named(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="pipe.png cannot be read as a picture: it is no file"):
        open_picture(tmp_path / "pipe.png")
    picture(0).save(tmp_path / "a.png")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match="(?s)Permission denied.*Check its permissions"):
        open_picture(tmp_path / "a.png")


def test_a_heic_cut_off_anywhere_raises_nothing_else(tmp_path):
    pillow_heif.register_heif_opener()
    picture(0, (64, 64)).save(tmp_path / "a.heic")
    whole = (tmp_path / "a.heic").read_bytes()
    refused = 0
    for end in range(0, len(whole), max(1, len(whole) // 60)):
        try:
            read_picture(whole[:end], "a.heic")
        except DataError:
            refused += 1
    assert refused > 50
