"""Decoded pictures are kept within a bound of bytes, and not beyond their use."""

import gc
import weakref

import pytest
from PIL import Image

from cagul.data.picture_cache import MOST_BYTES, PictureCache, bytes_of


def picture(size):
    return Image.new("RGB", (size, size))


def test_the_bound_is_of_bytes():
    opened = []

    def open_one(key):
        opened.append(key)
        return picture(10)  # 300 bytes

    cache = PictureCache(open_one, 900)
    assert cache("a") is cache("a")
    for key in "bcad":  # b goes: it was used longest ago
        cache(key)
    assert (len(cache), cache.bytes, opened) == (3, 900, ["a", "b", "c", "d"])
    cache("b")
    assert opened == ["a", "b", "c", "d", "b"]
    assert MOST_BYTES == 256 * 2**20


def test_a_picture_larger_than_the_bound_is_given_and_not_kept():
    cache = PictureCache(picture, 900)
    cache(10)
    assert cache(40).width == 40
    assert (len(cache), cache.bytes) == (1, 300)


@pytest.mark.parametrize("fails", [True, False])
def test_pictures_do_not_outlive_their_use(fails):
    cache = PictureCache(picture)
    try:
        with cache as opened:
            kept = weakref.ref(opened(10))
            assert kept() is not None
            if fails:
                raise ValueError("the host stopped")
    except ValueError:
        pass
    gc.collect()
    assert kept() is None
    assert (len(cache), cache.bytes) == (0, 0)


def test_bytes_of_a_picture():
    assert bytes_of(Image.new("RGB", (4, 3))) == 36
    assert bytes_of(Image.new("L", (4, 3))) == 12


def test_asking_keeps_no_picture_afterwards(tiny_host, tiny_records, monkeypatch):
    import cagul.evaluation.ask as module
    from cagul.data.records import load_records

    opened, true = [], module.open_picture

    def watched(path):
        opened.append(path)
        found = true(path)
        alive.append(weakref.ref(found))
        return found

    alive = []
    monkeypatch.setattr(module, "open_picture", watched)
    records = load_records(tiny_records)[:4]
    asked = [module.Question(str(n), records[n % 4].image, records[n % 4].question) for n in range(8)]
    answers = [one for part in module.ask(tiny_host, asked, max_new_tokens=2) for one in part]
    gc.collect()
    assert len(answers) == 8
    assert len(opened) == len({record.image for record in records})  # each once
    assert [one for one in alive if one() is not None] == []
