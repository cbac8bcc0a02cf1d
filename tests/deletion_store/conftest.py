"""The base patch and the store that these tests share."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy")

from made_stores import make, make_base


@pytest.fixture(scope="module")
def base():
    return make_base()


@pytest.fixture
def store(tmp_path, base):
    return make(tmp_path / "store", base)
