"""The store: deletion requests and their log in one SQLite file, mode 0600. Every change is one transaction.

Deleted content is overwritten (secure_delete), and a revocation ends in VACUUM and an emptied write-ahead log, so that
the file's bytes hold nothing of the person. A kill in between is made good at the next opening.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, ForeignKey, Integer, LargeBinary, MetaData, Table, Text

from cagul.errors import StoreError, did_you_mean
from cagul.requests.database import explained, open_engine, run_raw, writing
from cagul.requests.keys import StoreKey
from cagul.requests.log import START, Entry, check_chain, entry_hash
from cagul.runs import writable

SCHEMA = 1
ALREADY = "Give another --store, or go on with `cagul requests add`."
ACTIVE = ("enrolled", "verified", "failed")  # their templates are in the gate: a failed request is hidden as far as it goes
STATES = ("received", *ACTIVE, "revoked")

_tables = MetaData()
_facts = Table("facts", _tables, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
_calibration = Table("calibration", _tables, Column("id", Integer, primary_key=True), Column("people", Text, nullable=False),
                     Column("vectors", LargeBinary, nullable=False))  # fmt: skip
_requests = Table(
    "requests", _tables, Column("id", Text, primary_key=True), Column("at", Text, nullable=False),
    Column("state", Text, nullable=False), Column("subject", Text, nullable=False), Column("by", Text, nullable=False),
    Column("verification", Text, nullable=False), Column("vectors", LargeBinary), Column("best", LargeBinary),
    Column("encoder", LargeBinary), Column("encoder_made", Integer),
)  # fmt: skip
_pictures = Table("pictures", _tables, Column("request", ForeignKey("requests.id"), primary_key=True),
                  Column("number", Integer, primary_key=True), Column("data", LargeBinary, nullable=False))  # fmt: skip
_log = Table(
    "log", _tables, Column("number", Integer, primary_key=True), Column("at", Text, nullable=False),
    Column("request", Text, nullable=False), Column("action", Text, nullable=False), Column("content", Text, nullable=False),
    Column("previous", Text, nullable=False), Column("hash", Text, nullable=False),
)  # fmt: skip
_APPEND_ONLY = [
    f"CREATE TRIGGER log_no_{verb.lower()} BEFORE {verb} ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]
_NEWEST_ENCODER = _requests.select().where(_requests.c.encoder.is_not(None)).order_by(_requests.c.encoder_made.desc()).limit(1)
_LAST_ENTRY = _log.select().order_by(_log.c.number.desc()).limit(1)


@dataclass(frozen=True)
class Request:
    """One deletion request, without what it was enrolled from."""

    id: str
    at: str
    state: str
    subject: str
    by: str
    verification: dict[str, Any]

    @property
    def escalated(self) -> bool:
        """Whether an encoder was finetuned for it and taken."""
        return bool(self.verification.get("escalation", {}).get("adopted"))


def new_id() -> str:
    """Random: it says nothing about the person."""
    return f"r-{secrets.token_hex(8)}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


class Store:
    """A store file. Writing needs ``key``; listing does not.

    Raises StoreError when the file is missing, is no store, was made by a newer cagul, or ``key`` is not its key.
    """

    def __init__(self, path: str | Path, key: StoreKey | None = None):
        self.path, self.key = Path(path), key
        if not self.path.is_file():
            raise StoreError(f"There is no store {self.path}.", "Make one with `cagul requests init`.", "store")
        self.engine = open_engine(self.path)
        with explained(self.path), self.engine.connect() as connection:
            version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
            if version > SCHEMA:
                raise StoreError(f"{self.path} has schema {version}, this cagul reads up to {SCHEMA}.", "Upgrade cagul.", "store")
            if version == 0:
                raise StoreError(f"{self.path} is no store.", "Make one with `cagul requests init`.", "store")
            self.facts: dict[str, Any] = {
                name: json.loads(value) for name, value in connection.execute(_facts.select()) if name != "head"
            }
        if key is not None and key.mark(self.facts["id"]) != self.facts["key"]:
            raise StoreError("This key is not the one that the store was made with.", "Give that key file with --key.", "store-key")
        if key is not None and self.facts.get("erase"):
            self._erase()

    @classmethod
    def create(cls, path: str | Path, key: StoreKey, facts: dict[str, Any], people: Sequence[int], vectors: bytes) -> Store:
        """Make a store of calibration people and facts, whole or not at all.

        Raises StoreError when there is one already, WriteError when the place cannot be written.
        """
        path, name = Path(path), secrets.token_hex(16)
        with writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        engine = open_engine(path)
        with explained(path):
            run_raw(engine, "PRAGMA journal_mode=WAL")
            with writing(engine) as connection:
                if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one():
                    raise StoreError(f"{path} is already there.", ALREADY, "store")
                _tables.create_all(connection)
                for trigger in _APPEND_ONLY:
                    connection.exec_driver_sql(trigger)
                kept = {**facts, "id": name, "key": key.mark(name), "at": now()}
                connection.execute(_facts.insert(), [{"name": k, "value": json.dumps(v)} for k, v in kept.items()])
                connection.execute(_calibration.insert().values(id=1, people=json.dumps(list(people)), vectors=vectors))
                connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA}")
        engine.dispose()
        return cls(path, key)

    # -- reading --------------------------------------------------------------------------------------------------

    def requests(self) -> list[Request]:
        """All requests, by when they came."""
        with self._reading() as connection:
            rows = connection.execute(_requests.select().order_by(_requests.c.at, _requests.c.id)).mappings().all()
        return [_request(row) for row in rows]

    def request(self, name: str) -> Request:
        """Raises StoreError for an id that is unknown, with the nearest one."""
        with self._reading() as connection:
            row = self._row(connection, name)
        return _request(row)

    def state(self, name: str) -> str | None:
        """The state of a request, None where there is none of that id."""
        with self._reading() as connection:
            wanted = _requests.select().with_only_columns(_requests.c.state).where(_requests.c.id == name)
            return connection.execute(wanted).scalar_one_or_none()

    def enrolled(self, known: Collection[str] = ()) -> tuple[list[str], dict[str, tuple[bytes, bytes]]]:
        """Ids of the requests that the gate knows, in their order (who came first is not in it), and of those that are not
        ``known`` the sealed templates and the sealed best similarities to the calibration pictures.
        """
        wanted = _requests.select().where(_requests.c.state.in_(ACTIVE)).order_by(_requests.c.id)
        with self._reading() as connection:
            names = list(connection.execute(wanted.with_only_columns(_requests.c.id)).scalars())
            found = {}
            for name in (name for name in names if name not in known):
                row = self._row(connection, name)
                found[name] = (row["vectors"], row["best"])
        return names, found

    def encoder(self) -> tuple[str, bytes] | None:
        """The encoder in use, sealed, with the request it was finetuned for: the newest of an active request."""
        with self._reading() as connection:
            row = connection.execute(_NEWEST_ENCODER).mappings().first()
        return None if row is None else (row["id"], row["encoder"])

    def calibration(self) -> tuple[list[int], bytes]:
        """Numbers of the calibration people, one a picture, and their sealed vectors."""
        with self._reading() as connection:
            row = connection.execute(_calibration.select()).mappings().one()
        return json.loads(row["people"]), row["vectors"]

    def pictures(self, name: str) -> list[bytes]:
        """The sealed pictures of a request that were kept."""
        with self._reading() as connection:
            found = connection.execute(_pictures.select().where(_pictures.c.request == name).order_by(_pictures.c.number))
            return [row["data"] for row in found.mappings()]

    def last_entry(self) -> int:
        """Number of the log's last entry: every change of the store makes it one more."""
        with self._reading() as connection:
            return connection.execute(_LAST_ENTRY.with_only_columns(_log.c.number)).scalar_one_or_none() or 0

    def entries(self) -> list[Entry]:
        with self._reading() as connection:
            return _entries(connection)

    def check(self) -> list[str]:
        """What is wrong with the log, and where requests are not as it says; empty where all is whole."""
        with self._reading() as connection:
            entries = _entries(connection)
            rows = {row["id"]: row for row in connection.execute(_requests.select()).mappings()}
            head = connection.execute(_facts.select().where(_facts.c.name == "head")).mappings().first()
        wrong = check_chain(entries)
        last = entries[-1] if entries else None
        if (
            self.key is not None
            and last
            and (head is None or json.loads(head["value"]) != self.key.mark(f"{last.number} {last.hash}"))
        ):
            wrong.append(f"the log does not end at entry {last.number}: entries after it are missing, or it was written anew")
        told: dict[str, dict[str, Any]] = {}  # what the log says of each request
        for entry in entries:
            told.setdefault(entry.request, {}).update(entry.content, state=entry.action)
        for name in sorted({*told, *rows}):
            if name not in rows or name not in told:
                wrong.append(f"request {name} is in the {'store' if name in rows else 'log'} alone")
                continue
            row, said = rows[name], told[name]
            if row["state"] != said["state"]:
                wrong.append(f"request {name} is {row['state']}, but the log says {said['state']}")
            elif sha256(row["vectors"]) != (said.get("vectors") if said["state"] in ACTIVE else None):
                wrong.append(f"the templates of request {name} were changed")
            elif json.loads(row["verification"]) != said.get("verification", {}):
                wrong.append(f"the verification of request {name} was changed")
        return wrong

    # -- writing: one transaction each ----------------------------------------------------------------------------

    def receive(self, name: str, subject: str, by: str, pictures: Sequence[bytes] = ()) -> Request:
        """Write down a request; one that is there already is left as it is.

        Raises StoreError for an id that cannot be one, or that belongs to somebody else.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise StoreError(
                f"{name!r} cannot be an id.", "Use up to 64 letters, digits, - and _, and nobody's name.", "store-request"
            )
        with self._writing() as connection:
            row = connection.execute(_requests.select().where(_requests.c.id == name)).mappings().first()
            if row is not None and row["state"] != "revoked" and row["subject"] != subject:
                raise StoreError(f"The id {name} belongs to another request.", "Leave --id out for a new request.", "store-request")
            if row is None:
                at = now()
                connection.execute(
                    _requests.insert().values(id=name, at=at, state="received", subject=subject, by=by, verification="{}")
                )
                for number, data in enumerate(pictures):
                    connection.execute(_pictures.insert().values(request=name, number=number, data=data))
                self._append(connection, name, "received", {"pictures_kept": len(pictures)}, at)
        return self.request(name)

    def enrol(self, name: str, vectors: bytes, best: bytes) -> None:
        """Keep the sealed templates of a received request: from here on the gate knows the person."""
        with self._writing() as connection:
            if self._row(connection, name)["state"] == "received":
                connection.execute(
                    _requests.update().where(_requests.c.id == name).values(state="enrolled", vectors=vectors, best=best)
                )
                self._append(connection, name, "enrolled", {"vectors": sha256(vectors)})

    def settle(self, name: str, state: str, verification: dict[str, Any], encoder: bytes | None = None,
               trained_from: str | None = None) -> None:  # fmt: skip
        """Write what verification found, and the encoder that was finetuned for it.

        Raises StoreError when the request is not enrolled any more, or another one changed the encoder meanwhile.
        """
        with self._writing() as connection:
            if self._row(connection, name)["state"] not in ACTIVE:
                raise StoreError(f"Request {name} was revoked meanwhile.", "Nothing is left to do.", "store-request")
            values: dict[str, Any] = {"state": state, "verification": json.dumps(verification)}
            if encoder is not None:
                newest = connection.execute(_NEWEST_ENCODER).mappings().first()
                if (newest["id"] if newest else None) != trained_from:
                    raise StoreError("Another request changed the encoder meanwhile.",
                                     f"Run the same command again, with --id {name}.", "store-request")  # fmt: skip
                values |= {"encoder": encoder, "encoder_made": connection.execute(_LAST_ENTRY).mappings().one()["number"]}
            connection.execute(_requests.update().where(_requests.c.id == name).values(**values))
            self._append(connection, name, state, {"verification": verification, "encoder": sha256(encoder)})

    def revoke(self, name: str) -> list[str]:
        """Take a request back and erase what it brought: templates, text, pictures, encoder.

        Returns the requests that were verified under the erased encoder: they are merely enrolled again.
        Raises StoreError when it is revoked already, or revoked now but not yet overwritten because another process reads.
        """
        with self._writing() as connection:
            row = self._row(connection, name)
            if row["state"] == "revoked":
                raise StoreError(f"Request {name} is revoked already.", "Nothing is left to do.", "store-request")
            connection.execute(_pictures.delete().where(_pictures.c.request == name))
            connection.execute(
                _requests.update().where(_requests.c.id == name)
                .values(state="revoked", subject="", by="", vectors=None, best=None, encoder=None, encoder_made=None)
            )  # fmt: skip
            self._append(connection, name, "revoked", {})
            unproven = [] if row["encoder"] is None else self._verified_under(connection, row)
            for other in unproven:
                connection.execute(_requests.update().where(_requests.c.id == other).values(state="enrolled", verification="{}"))
                self._append(connection, other, "enrolled", {"verification": {}, "why": f"its encoder went with request {name}"})
            connection.execute(_facts.insert().prefix_with("OR REPLACE").values(name="erase", value="true"))
        if not self._erase():
            raise StoreError(f"Request {name} is revoked, but another process is reading, so old bytes are still on the disk.",
                             "The next command that opens the store with its key erases them.", "store-locked")  # fmt: skip
        return unproven

    def _erase(self) -> bool:
        """Rewrite the file without its free pages and empty the write-ahead log; False while another process reads."""
        with explained(self.path):
            run_raw(self.engine, "VACUUM")
            busy = bool(run_raw(self.engine, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0])
        if not busy:
            with self._writing() as connection:
                connection.execute(_facts.delete().where(_facts.c.name == "erase"))
        return not busy

    # -- inside ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _verified_under(connection: Connection, taken: Any) -> list[str]:
        """Active requests whose verification names the encoder that was finetuned for the request ``taken``."""
        made = _log.select().where(_log.c.number == taken["encoder_made"] + 1)  # the entry that settled it; verified again since?
        content = json.loads(connection.execute(made).mappings().one()["content"])
        encoder = content["verification"].get("encoder")
        rows = connection.execute(_requests.select().where(_requests.c.state.in_(ACTIVE)).order_by(_requests.c.id)).mappings()
        return [row["id"] for row in rows if encoder and json.loads(row["verification"]).get("encoder") == encoder]

    def _row(self, connection: Connection, name: str) -> Any:
        row = connection.execute(_requests.select().where(_requests.c.id == name)).mappings().first()
        if row is None:
            known = connection.execute(_requests.select().with_only_columns(_requests.c.id)).scalars().all()
            raise StoreError(f"There is no request {name!r}.", did_you_mean(name, known) if known else "The store is empty.",
                             "store-request")  # fmt: skip
        return row

    def _append(self, connection: Connection, request: str, action: str, content: dict[str, Any], at: str | None = None) -> None:
        """One entry more, and the keyed mark of where the log ends."""
        key = self._key()
        last = connection.execute(_LAST_ENTRY).mappings().first()
        number, previous, at = (last["number"] + 1 if last else 1), (last["hash"] if last else START), at or now()
        found = entry_hash(number, at, request, action, content, previous)
        connection.execute(_log.insert().values(number=number, at=at, request=request, action=action,
                                                content=json.dumps(content), previous=previous, hash=found))  # fmt: skip
        head = json.dumps(key.mark(f"{number} {found}"))
        connection.execute(_facts.insert().prefix_with("OR REPLACE").values(name="head", value=head))

    def _key(self) -> StoreKey:
        if self.key is None:
            raise StoreError("The store is changed with its key alone.", "Give the key file with --key.", "store-key")
        return self.key

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with explained(self.path), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with explained(self.path), writing(self.engine) as connection:
            yield connection


def _request(row: Any) -> Request:
    return Request(row["id"], row["at"], row["state"], row["subject"], row["by"], json.loads(row["verification"]))


def _entries(connection: Connection) -> list[Entry]:
    rows = connection.execute(_log.select().order_by(_log.c.number)).mappings()
    return [Entry(**{**row, "content": json.loads(row["content"])}) for row in rows]
