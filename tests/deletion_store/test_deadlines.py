"""Until when a request is to be answered, what is due, and the register of all requests."""

from __future__ import annotations

import csv
import json
import sqlite3
from datetime import date, timedelta

import pytest
from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.cli.requests_table import COLUMNS, no_formula
from cagul.deletion.deadlines import deadlines_of, months_after, utc_today
from cagul.deletion.request import require_actor
from cagul.deletion.store import Store
from cagul.deletion.store_gate import StoreGate
from cagul.errors import StoreError, UsageError
from made_stores import enrol

TODAY = utc_today()


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2028, 1, 31), 1, date(2028, 2, 29)),
        (date(2026, 12, 5), 1, date(2027, 1, 5)),
        (date(2026, 11, 30), 3, date(2027, 2, 28)),
        (date(2026, 3, 31), 1, date(2026, 4, 30)),
    ],
)
def test_a_month_ends_on_its_last_day(day, months, expected):
    assert months_after(day, months) == expected


@pytest.fixture
def register(store, base):
    """r1 verified, r2 overdue, r3 withdrawn, r4 due in some days."""
    keeper = StoreGate(store, store.key, base)
    store.receive("r2", "=cmd|'/c calc'!A1", "the clerk", received=TODAY - timedelta(days=60))
    store.receive("r4", "Person r4", "the clerk", received=TODAY - timedelta(days=25))
    for name in ("r1", "r3"):
        enrol(keeper, name)
    store.settle("r1", "verified", {"verdict": "HIDES", "why": "tried"})
    store.revoke("r3")
    return store


def ids(*words):
    return [one["id"] for one in json.loads(run("requests", "list", *words, "--json").stdout)["requests"]]


def test_deadlines_follow_from_the_log(register):
    found = deadlines_of(register.entries())
    assert {name: one.outcome for name, one in found.items()} == {
        "r1": "done",
        "r2": "open",
        "r3": "withdrawn",
        "r4": "open",
    }
    assert found["r4"].due == months_after(TODAY - timedelta(days=25), 1)
    assert [name for name, one in found.items() if one.overdue(TODAY)] == ["r2"]
    assert not found["r4"].overdue(found["r4"].due)  # the last day is not past
    assert found["r4"].overdue(found["r4"].due + timedelta(days=1))
    assert found["r1"].ended == found["r3"].ended == TODAY
    register.enrol_names("r1", _names(register))  # merely enrolled again: nothing is proven now
    assert deadlines_of(register.entries())["r1"].outcome == "open"


def _names(store):
    from cagul.deletion.names import RequestNames

    return RequestNames.of(["Christine Holt"], store.key).seal("r1", store.key)


def test_the_list_is_filtered(register):
    store = ("--store", register.path)
    assert sorted(ids(*store)) == ["r1", "r2", "r3", "r4"]
    assert ids(*store, "--overdue") == ["r2"]
    assert sorted(ids(*store, "--due-within", 10)) == ["r2", "r4"]
    assert ids(*store, "--due-within", 0) == ["r2"]
    assert sorted(ids(*store, "--state", "verified", "--state", "revoked")) == ["r1", "r3"]
    shown = " ".join(run("requests", "list", *store).stdout.split())
    assert f"OVERDUE since {deadlines_of(register.entries())['r2'].due}" in shown
    assert isinstance(run("requests", "list", *store, "--state", "done").exception, UsageError)


def test_an_extension_has_a_limit_and_a_reason(register):
    store, key = ("--store", register.path), ("--key", register.path.parent / "key")
    before = deadlines_of(register.entries())["r4"]
    latest = months_after(before.received, 3)
    for until in (before.due, latest + timedelta(days=1)):
        with pytest.raises(StoreError, match=f"cannot be extended until {until}"):
            register.extend("r4", until, "many pictures")
    with pytest.raises(StoreError, match="is done since .*, so there is nothing to extend"):
        register.extend("r1", latest, "many pictures")
    for why in ("", " ", "\udc80", "x" * 1001):
        with pytest.raises(StoreError, match="is no text of up to 1000 characters"):
            register.extend("r4", latest, why)
    done = run("requests", "extend", "r4", *store, *key, "--until", latest, "--why", "many", "--actor", "Jo")
    assert f"is due on {latest}" in done.stdout
    assert register.entries()[-1].content == {"until": str(latest), "why": "many", "actor": "Jo"}
    assert deadlines_of(register.entries())["r4"].extended
    assert register.check() == []
    assert register.request("r4").state == "received"
    assert register.version() == 4


def test_a_refusal_says_why_and_erases(register):
    store, key = ("--store", register.path), ("--key", register.path.parent / "key")
    assert run("requests", "refuse", "r2", *store, *key, "--why", "another person").exception is None
    assert register.request("r2").subject == ""
    assert deadlines_of(register.entries())["r2"].outcome == "refused"
    assert register.entries()[-1].content["why"] == "another person"
    assert register.check() == []
    assert ids(*store, "--overdue") == []


def test_a_day_to_come_is_refused(register):
    with pytest.raises(StoreError, match="cannot have been received on"):
        register.receive("r9", "Person r9", "", received=TODAY + timedelta(days=1))


def test_a_request_without_a_log_is_no_line_of_the_list(register):
    """Its deadline follows from the log alone."""
    with sqlite3.connect(register.path) as raw:
        raw.execute("DROP TRIGGER log_no_delete")
        raw.execute("DELETE FROM log WHERE request = 'r4'")
    found = run("requests", "list", "--store", register.path).exception
    assert isinstance(found, StoreError)
    assert "request r4 is in the store alone" in str(found)


def test_the_register_is_written_for_its_owner_alone(register, tmp_path):
    path = tmp_path / "register.csv"
    assert run("requests", "list", "--store", register.path, "--csv", path).exception is None
    assert path.stat().st_mode & 0o777 == 0o600
    rows = {row["id"]: row for row in csv.DictReader(path.read_text().splitlines())}
    assert tuple(rows["r1"]) == COLUMNS
    assert (rows["r1"]["outcome"], rows["r1"]["verdict"]) == ("done", "HIDES")
    assert (rows["r2"]["overdue"], rows["r2"]["subject"]) == ("yes", "'=cmd|'/c calc'!A1")
    assert rows["r3"]["subject"] == ""
    assert all(row["last_actor"] for row in rows.values())
    assert [no_formula(cell) for cell in ("-1", "@x", "\t=1", "a=1")] == ["'-1", "'@x", "'\t=1", "a=1"]


def test_every_entry_names_who_acted(register, monkeypatch):
    assert all(entry.content["actor"] for entry in register.entries())
    with Store(register.path, register.key, "the night shift") as opened:
        opened.receive("r9", "Person r9", "")
        assert opened.entries()[-1].content["actor"] == "the night shift"
    for actor in ("", " ", "a\nb", "\udc80", "x" * 101):
        with pytest.raises(StoreError, match="is no line of text of up to 100"):
            require_actor(actor)
    monkeypatch.setattr("getpass.getuser", lambda: "o\udc80p")
    assert require_actor(None) == "o\\udc80p"

    def nameless():
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert require_actor(None).startswith("uid ")
