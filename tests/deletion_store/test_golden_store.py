"""A store that earlier code made still opens and decides as it did, or is refused by its version."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from cagul.config import load_config
from cagul.deletion.keys import StoreKey
from cagul.deletion.service import open_service
from cagul.deletion.store import SCHEMA, Store
from cagul.deletion.store_gate import known_patch_hashes
from cagul.errors import StoreError
from cagul.guard.patch import Patch
from cagul.host.frozen import FrozenHost
from helpers import make_patch

GOLDEN = Path(__file__).parent.parent / "golden" / "store-format-1"


@pytest.fixture
def golden(tmp_path):
    """A copy: opening a store may write beside it. Git keeps no mode of a key file."""
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "golden"))
    (folder / "throwaway-test.key").chmod(0o600)
    return folder


def test_a_store_of_format_1_opens_and_decides_as_it_did(golden):
    expected = json.loads((golden / "expected.json").read_text())
    host, base = FrozenHost.load(golden / "host"), Patch.load(golden / "base-patch")
    assert host.fingerprint() == expected["host_sha256"]
    with open_service(golden / "requests.db", golden / "throwaway-test.key", host, base) as service:
        assert service.store.check() == []
        assert {one.id: one.state for one in service.store.requests()} == expected["requests"]
        entries = service.store.entries()
        assert [[one.number, one.request, one.action] for one in entries] == expected["log"]
        assert entries[-1].hash == expected["last_hash"]
        guard = service.guard()
        assert guard.patch.threshold == pytest.approx(expected["threshold"], abs=1e-4)
        for name, decided in expected["pictures"].items():
            answer = guard.answer(
                golden / "pictures" / f"{name}.png", "Who is this person ?", max_new_tokens=8
            )
            decision = answer.decisions[0]
            assert decision.score == pytest.approx(decided["score"], abs=1e-3)
            assert (decision.fired, len(decision.chosen)) == (decided["fired"], decided["chosen"])
        assert service.revoke("r-active")[0] == 0
        assert service.store.check() == []


def test_a_store_of_a_newer_format_is_refused(golden):
    with closing(sqlite3.connect(golden / "requests.db")) as raw:
        raw.execute(f"PRAGMA user_version={SCHEMA + 1}")
    with pytest.raises(StoreError, match=rf"has schema {SCHEMA + 1}, .* up to {SCHEMA}\.\n *Upgrade cagul\."):
        Store(golden / "requests.db", StoreKey.load(golden / "throwaway-test.key"))


def test_an_earlier_store_takes_a_state_that_came_later(golden):
    with Store(golden / "requests.db", StoreKey.load(golden / "throwaway-test.key")) as store:
        found = {"verdict": "NOTHING TO HIDE", "why": "0 of 32 answers tell without the guard"}
        store.settle("r-active", "nothing to hide", found)
        assert store.request("r-active").state == "nothing to hide"
        assert "r-active" in store.enrolled()[1]
        assert store.check() == []
    with closing(sqlite3.connect(golden / "requests.db")) as raw:  # what an earlier cagul refuses
        assert raw.execute("PRAGMA user_version").fetchone() == (2,)


def test_options_that_came_later_count_only_where_they_are_set(tiny_host):
    made = make_patch(tiny_host)
    patch = replace(made, config=load_config(made.config, ["training.words=0"]))  # as training leaves it
    assert not {"along_memorised", "words"} & set(patch.identity()["config"]["training"])
    listed = replace(patch, config=load_config(patch.config, ["training.target=refusals"]))
    assert "target" not in listed.identity()["config"]["training"]
    config = load_config(patch.config, ["training.words=0.5"])
    other = replace(patch, config=config)
    assert other.identity()["config"]["training"]["words"] == 0.5
    assert not set(known_patch_hashes(patch)) & set(known_patch_hashes(other))
