"""`cagul doctor --store`: what is wrong with a store, and the exit code that a timer can act on."""

# ruff: noqa: F811 - imported fixtures are arguments
from __future__ import annotations

import json
import sqlite3
from datetime import timedelta

import pytest

pytest.importorskip("sqlalchemy")

from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.cli.doctor_checks import exit_code
from cagul.cli.store_checks import examine_store
from cagul.deletion.deadlines import utc_today
from cagul.deletion.store_gate import StoreGate
from made_stores import enrol, make, make_base


@pytest.fixture
def made(tmp_path):
    """A store whose patch and host are not there, with r1 verified."""
    base = make_base()
    store = make(tmp_path / "s", base)
    enrol(StoreGate(store, store.key, base), "r1")
    store.settle("r1", "verified", {"why": "tried"})
    return store


def rows(path, key=None, host=None, patch=None):
    return {check.name: check for check in examine_store(path, key, host, patch)}


def test_a_whole_store_fails_nothing(service, tiny_folder, base_folder, tmp_path):
    found = rows(tmp_path / "requests.db", tmp_path / "key", str(tiny_folder), base_folder)
    asked = "store, permissions, log, key, sealed parts, base patch, host, verifications, deadlines"
    assert {name: check.state for name, check in found.items()} == dict.fromkeys(asked.split(", "), "ok")
    assert exit_code(list(found.values())) == 0


def test_without_its_key_a_store_is_looked_at_from_outside(made):
    found = rows(made.path)
    assert (found["log"].state, found["key"].state) == ("warning", "warning")
    assert made.fingerprint() in found["key"].found
    assert not {"sealed parts", "base patch", "host"} & set(found)


def test_what_a_store_was_made_for_must_be_there(made):
    found = rows(made.path, made.path.parent / "key")
    assert (found["base patch"].state, found["host"].state) == ("failed", "failed")
    assert found["sealed parts"].found.startswith("all open: templates of 1 request, names of 0, 0 pictures")
    assert exit_code(list(found.values())) == 4


@pytest.mark.parametrize(
    ("statement", "name", "says"),
    [
        ("UPDATE requests SET best=NULL", "log", "the similarities of request r1 were changed"),
        ("UPDATE log SET content='['", "log", "is no whole store"),
        ("INSERT INTO pictures VALUES ('r1', 0, x'00')", "sealed parts", "What the store holds for r1"),
    ],
)
def test_what_was_changed_fails_with_the_stores_code(statement, name, says, made):
    with sqlite3.connect(made.path) as raw:
        raw.execute("DROP TRIGGER log_no_update")
        raw.execute(statement)
    check = rows(made.path, made.path.parent / "key")[name]
    assert (check.state, check.code) == ("failed", 6)
    assert says in check.found


def test_a_missed_deadline_is_exit_code_8_and_a_near_one_a_warning(made):
    today = utc_today()
    made.receive("r2", "Person r2", "", received=today - timedelta(days=27))
    found = rows(made.path)
    assert (found["deadlines"].state, found["verifications"].state) == ("warning", "ok")
    made.receive("r3", "Person r3", "", received=today - timedelta(days=40))
    done = CliRunner().invoke(
        app, ["doctor", "--store", str(made.path), "--threads", "1", "--json"], standalone_mode=False
    )
    shown = json.loads(done.stdout)
    checks = {one["name"]: one for one in shown["checks"]}
    assert checks["deadlines"]["found"] == "1 request overdue: r3"
    assert shown["exit_code"] == 8


def test_others_who_can_read_and_a_half_changed_key_are_told(made):
    made.path.chmod(0o644)
    (made.path.parent / "key.new").write_text("11" * 32)
    (made.path.parent / "key.new").chmod(0o600)
    found = rows(made.path, made.path.parent / "key")
    assert (found["permissions"].state, found["permissions"].code) == ("failed", 6)
    assert "rotate-key` again" in found["key"].remedy


def test_what_is_no_store_or_not_its_key_ends_there(made, tmp_path):
    (tmp_path / "other").write_text("11" * 32)
    (tmp_path / "other").chmod(0o600)
    for path, key, code in ((tmp_path / "none.db", None, 6), (made.path, tmp_path / "other", 6)):
        (only,) = examine_store(path, key, None, None)
        assert (only.state, only.code) == ("failed", code)
