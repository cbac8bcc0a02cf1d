"""The store: deletion requests and their log in one SQLite file, mode 0600. Every change is one transaction.

Deleted content is overwritten (secure_delete), and a revocation ends in VACUUM and an emptied write-ahead
log, so that the file's bytes hold nothing of the person. A kill in between is made good at the next opening.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection

from cagul.deletion.database import (
    ALREADY,
    closing,
    explained,
    log_to_a_neighbour,
    open_engine,
    require_free,
    run_raw,
    set_version,
    understood,
    version_of,
    writing,
)
from cagul.deletion.deadlines import Deadline, deadlines_of, require_extension, require_received, utc_today
from cagul.deletion.heads import Head, difference
from cagul.deletion.keys import StoreKey, fingerprint_of
from cagul.deletion.log import (
    ACTIVE,
    EXTENDED,
    NOTHING_TO_HIDE,
    RESTORED,
    ROTATED,
    START,
    WHOLE_STORE,
    Entry,
    check_chain,
    check_requests,
    entry_hash,
    sha256,
)
from cagul.deletion.pictures import folder_of, sweep
from cagul.deletion.request import (
    Request,
    is_id,
    now,
    request_of,
    require_actor,
    require_reason,
    require_request,
)
from cagul.deletion.resealing import NAMES_SECRET, seal_again
from cagul.deletion.tables import (
    APPEND_ONLY,
    CALIBRATION,
    FACTS,
    LOG,
    NEWEST_ENCODER,
    NOTES_SCHEMA,
    PICTURES,
    REQUESTS,
    TABLES,
    SealedPart,
    drop_hashes,
    encoder_of,
    end_of_log,
    entries_of,
    facts_of,
    head_of,
    names_of,
    put_names,
    replace_rows,
    require_schema,
    set_fact,
    to_mark,
    verified,
)
from cagul.errors import StoreError, did_you_mean
from cagul.files import os_errors_as_write_errors, parse_json

SCHEMA = NOTES_SCHEMA  # 4: with entries that are no state of a request
NOTHING_SCHEMA = 2  # 2: with the state "nothing to hide", which an earlier cagul would leave out of the gate


class Store:
    """A store file. Writing needs ``key``; listing does not. ``close`` it, or use it in a ``with``. Every
    entry of the log names the ``actor``, the account of this process if not given.

    Raises StoreError when the file is missing, is no store, was made by a newer cagul, or ``key`` is not its
    key.
    """

    def __init__(self, path: str | Path, key: StoreKey | None = None, actor: str | None = None):
        self.path, self.key, self.actor = Path(path), key, require_actor(actor)
        if not self.path.is_file():
            raise StoreError(
                f"There is no store {self.path}.", "Make one with `cagul requests init`.", "store"
            )
        self.engine = open_engine(self.path)
        try:
            self.reload()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections to the file. A closed store opens them again when it is used."""
        self.engine.dispose()

    def reload(self) -> None:
        """Read the facts again and finish what a killed process left. Raises StoreError as opening does."""
        with understood(self.path), self.engine.connect() as connection:
            version = version_of(connection)
            if version > SCHEMA:
                raise StoreError(
                    f"{self.path} has schema {version}, this cagul reads up to {SCHEMA}.",
                    "Upgrade cagul.",
                    "store",
                )
            if version == 0:
                raise StoreError(f"{self.path} is no store.", "Make one with `cagul requests init`.", "store")
            self.facts = facts_of(connection)
            name, mark = self.facts["id"], self.facts["key"]
        if self.key is not None:
            self.key = self._fitting(self.key, name, mark)
            self.folder = folder_of(self.path, name)  # of open pictures
            sweep(self.folder)
            if self.facts.get("erase"):
                self._erase()

    def _fitting(self, key: StoreKey, name: str, mark: str) -> StoreKey:
        """The key, or the one that takes its place while its file is changed, with the secret of the names
        that the store keeps. Raises StoreError for another one.
        """
        fitting = key if key.mark(name, "store") == mark else key.next()
        if fitting is None or fitting.mark(name, "store") != mark:
            raise StoreError(
                "This key is not the one that the store was made with.",
                f"Give the key {fingerprint_of(mark)} with --key; this one is "
                f"{fingerprint_of(key.mark(name, 'store'))}. A store from before the first release must be "
                "made again with `cagul requests init`.",
                "store-key",
            )
        sealed = self.facts.get(NAMES_SECRET)
        if sealed is None:
            return fitting
        return fitting.with_names(fitting.open(bytes.fromhex(sealed), NAMES_SECRET))

    def key_fits(self) -> bool:
        """Whether the key that this was opened with still opens the store: another process may change it."""
        with self._reading() as connection:
            return self._fits(facts_of(connection))

    def _fits(self, facts: Mapping[str, Any]) -> bool:
        return self.key is None or facts["key"] == self.key.mark(self.facts["id"], "store")

    def _require_key(self, connection: Connection) -> None:
        if not self._fits(facts := facts_of(connection)):
            raise StoreError(
                f"The key of {self.path} was changed meanwhile, to {fingerprint_of(facts['key'])}.",
                "Run the same command again, with that key.",
                "store-key",
            )

    @classmethod
    def create(
        cls, path: str | Path, key: StoreKey, facts: dict[str, Any], people: Sequence[int], vectors: bytes
    ) -> Store:
        """Make a store of calibration people and facts, whole or not at all.

        Raises StoreError when there is one already, WriteError when the place cannot be written.
        """
        path, name = Path(path), secrets.token_hex(16)
        require_free(path)
        with os_errors_as_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        engine = open_engine(path)
        with explained(path), closing(engine):
            log_to_a_neighbour(engine)
            with writing(engine) as connection:
                # made meanwhile
                if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one():
                    raise StoreError(f"{path} is already there.", ALREADY, "store")
                TABLES.create_all(connection)
                for trigger in APPEND_ONLY:
                    connection.exec_driver_sql(trigger)
                kept = {**facts, "id": name, "key": key.mark(name, "store"), "at": now()}
                connection.execute(
                    CALIBRATION.insert().values(id=1, people=json.dumps(list(people)), vectors=vectors)
                )
                kept |= {"mark": key.mark(to_mark(kept, connection)), "head": key.mark(f"0 {START}")}
                connection.execute(
                    FACTS.insert(), [{"name": k, "value": json.dumps(v)} for k, v in kept.items()]
                )
                set_version(connection, SCHEMA)
        return cls(path, key)

    # -- reading

    def requests(self) -> list[Request]:
        """All requests, by when they came."""
        with self._reading() as connection:
            rows = (
                connection.execute(REQUESTS.select().order_by(REQUESTS.c.at, REQUESTS.c.id)).mappings().all()
            )
            names = names_of(connection)
            return [request_of(row, names) for row in rows]

    def request(self, name: str) -> Request:
        """Raises StoreError for an id that is unknown, with the nearest one."""
        with self._reading() as connection:
            return request_of(self._row(connection, name), names_of(connection))

    def state(self, name: str) -> str | None:
        """The state of a request, None where there is none of that id."""
        with self._reading() as connection:
            wanted = REQUESTS.select().with_only_columns(REQUESTS.c.state).where(REQUESTS.c.id == name)
            return connection.execute(wanted).scalar_one_or_none()

    def enrolled(
        self, known: Collection[tuple[str, str]] = ()
    ) -> tuple[list[tuple[str, str]], dict[str, tuple[bytes, bytes]]]:
        """Id and SHA-256 of what is sealed of each request that the gate knows, in the order of the ids (who
        came first is not in it); and of those that are not ``known`` the sealed templates and best
        similarities to the calibration pictures.
        """
        columns = REQUESTS.c
        wanted = REQUESTS.select().with_only_columns(columns.id, columns.vectors, columns.best)
        marks, unknown = [], {}
        with self._reading() as connection:
            for name, vectors, best in connection.execute(
                wanted.where(columns.state.in_(ACTIVE)).order_by(columns.id)
            ):
                sealed = (vectors or b"", best or b"")  # nothing is a change that the key finds
                marks.append((name, hashlib.sha256(b"".join(sealed)).hexdigest()))
                if marks[-1] not in known:
                    unknown[name] = sealed
        return marks, unknown

    def names(self) -> dict[str, SealedPart]:
        """The sealed names of the requests that the gate knows, in the order of the ids."""
        wanted = REQUESTS.select().with_only_columns(REQUESTS.c.id).where(REQUESTS.c.state.in_(ACTIVE))
        with self._reading() as connection:
            active = connection.execute(wanted.order_by(REQUESTS.c.id)).scalars().all()
            names = names_of(connection)
        return {name: names[name] for name in active if name in names}

    def encoder(self) -> tuple[str, bytes] | None:
        """The encoder in use, sealed, with the request it was finetuned for: the newest of an active
        request.
        """
        with self._reading() as connection:
            row = connection.execute(NEWEST_ENCODER).mappings().first()
        return None if row is None else (row["id"], row["encoder"])

    def calibration(self) -> tuple[list[int], bytes]:
        """Numbers of the calibration people, one a picture, and their sealed vectors."""
        with self._reading() as connection:
            row = connection.execute(CALIBRATION.select()).mappings().one()
            return parse_json(row["people"]), row["vectors"]

    def pictures(self, name: str) -> list[bytes]:
        """The sealed pictures of a request that were kept."""
        with self._reading() as connection:
            rows = connection.execute(
                PICTURES.select().where(PICTURES.c.request == name).order_by(PICTURES.c.number)
            )
            return [row["data"] for row in rows.mappings()]

    def last_entry(self) -> tuple[int, str]:
        """Number and hash of the log's last entry: every change of the store makes another."""
        with self._reading() as connection:
            return end_of_log(connection)

    def version(self) -> int:
        """Of the schema."""
        with self._reading() as connection:
            return version_of(connection)

    def fingerprint(self) -> str:
        """Of the key that opens the store: to know it by, not to open anything."""
        return fingerprint_of(self.facts["key"])

    def holds(self, entry: tuple[int, str]) -> bool:
        """Whether the log has an entry of this number and hash; entry 0 stands before the first."""
        number, hashed = entry
        wanted = LOG.select().with_only_columns(LOG.c.hash).where(LOG.c.number == number)
        with self._reading() as connection:
            return number == 0 or connection.execute(wanted).scalar_one_or_none() == hashed

    def entries(self) -> list[Entry]:
        with self._reading() as connection:
            return entries_of(connection)

    def check(self) -> list[str]:
        """What is wrong with the log, and where requests are not as it says; empty where all is whole. With
        the key also whether the log ends where it should, and whether facts and calibration are what they
        were.
        """
        with self._reading() as connection:
            self._require_key(connection)
            entries = entries_of(connection)
            wrong = check_chain(entries)
            if self.key is not None:
                number, last_hash = end_of_log(connection)
                facts = facts_of(connection)
                if facts.get("head") != self.key.mark(f"{number} {last_hash}"):
                    wrong.append(
                        f"the log does not end at entry {number}: entries after it are missing, or it was "
                        "written again"
                    )
                wrong += self._changed_facts(facts, connection)
            names = {name: part.logged() for name, part in names_of(connection).items()}
            rows = {
                row["id"]: dict(row) | {"names": names.get(row["id"])}
                for row in connection.execute(REQUESTS.select()).mappings()
            }
            return wrong + check_requests(entries, rows)

    def _changed_facts(self, facts: dict[str, Any], connection: Connection) -> list[str]:
        right = self.facts.get("mark") == self._key().mark(to_mark(facts, connection))
        return [] if right else ["the store's facts or its calibration people were changed"]

    def require_facts(self) -> None:
        """What ``facts`` holds is what it was made with. Raises StoreError where it is not, or without the
        key.
        """
        with self._reading() as connection:
            self._refuse(self._changed_facts(self.facts, connection))

    def require_whole(self) -> None:
        """Raises StoreError that says what ``check`` finds."""
        self._refuse(self.check())

    def require_head(self, outside: Head) -> None:
        """Raises StoreError for a store that does not go on from a head that was kept outside."""
        found = difference(self.head(), self.entries(), outside)
        if found.older:
            raise StoreError(
                f"{self.path} does not go on from entry {outside.number} as it was kept outside: "
                f"{found.text()}.",
                "Restore a newer backup, or withdraw and add these again. `requests show` says what the log "
                "holds.",
                "store-older",
            )

    def _refuse(self, wrong: Sequence[str]) -> None:
        if wrong:
            raise StoreError(
                f"{self.path} is not as its log says: {'; '.join(wrong)}.",
                "Restore it from a backup.",
                "store-changed",
            )

    # -- writing: one transaction each

    def receive(
        self,
        name: str,
        subject: str,
        by: str,
        pictures: Sequence[bytes] = (),
        received: date | None = None,
    ) -> Request:
        """Write down a request; one that is there already is left as it is. It came on the day ``received``,
        today if not given.

        Raises StoreError as ``require_request`` does, for a day to come, and for an id that belongs to
        somebody else.
        """
        require_request(name, subject, by)
        content: dict[str, Any] = {"pictures_kept": len(pictures)}
        if received is not None:
            require_received(received, utc_today())
            content["received"] = received.isoformat()
        with self._writing() as connection:
            row = connection.execute(REQUESTS.select().where(REQUESTS.c.id == name)).mappings().first()
            if row is not None and row["state"] != "revoked" and row["subject"] != subject:
                raise StoreError(
                    f"The id {name} belongs to another request.",
                    "Leave --id out for a new request.",
                    "store-request",
                )
            if row is None:
                at = now()
                connection.execute(
                    REQUESTS.insert().values(
                        id=name, at=at, state="received", subject=subject, by=by, verification="{}"
                    )
                )
                for number, data in enumerate(pictures):
                    connection.execute(PICTURES.insert().values(request=name, number=number, data=data))
                self._append(connection, name, "received", content, at)
        return self.request(name)

    def enrol(self, name: str, vectors: bytes, best: bytes, names: SealedPart | None = None) -> None:
        """Keep the sealed templates and names of a received request: from here on the gates know the
        person.
        """
        with self._writing() as connection:
            if self._row(connection, name)["state"] == "received":
                connection.execute(
                    REQUESTS.update()
                    .where(REQUESTS.c.id == name)
                    .values(state="enrolled", vectors=vectors, best=best)
                )
                content: dict[str, Any] = {"vectors": sha256(vectors), "best": sha256(best)}
                if names is not None:
                    put_names(connection, name, names)
                    content["names"] = names.logged()
                self._append(connection, name, "enrolled", content)

    def enrol_names(self, name: str, names: SealedPart) -> None:
        """Keep these sealed names of an active request in place of those that it has. What was found before
        holds no more, so it is merely enrolled. Raises StoreError where it is not active.
        """
        with self._writing() as connection:
            if self._row(connection, name)["state"] not in ACTIVE:
                raise StoreError(
                    f"Request {name} is not active.", "Add the names to an active one.", "store-request"
                )
            put_names(connection, name, names)
            self._unprove(connection, [name], "names were added", {"names": names.logged()})

    def settle(
        self,
        name: str,
        state: str,
        verification: dict[str, Any],
        encoder: bytes | None = None,
        under: str | None = None,
    ) -> list[str]:
        """Write what verification found, and the encoder that was finetuned for it.

        ``under`` is the SHA-256 of the sealed encoder that was in use meanwhile, None for the base patch's.
        Returns the requests that were verified under another encoder than this new one: they are merely
        enrolled again. Raises StoreError when the request is not enrolled any more, or another one changed
        the encoder meanwhile.
        """
        with self._writing() as connection:
            if self._row(connection, name)["state"] not in ACTIVE:
                raise StoreError(
                    f"Request {name} was revoked meanwhile.", "Nothing is left to do.", "store-request"
                )
            if state == NOTHING_TO_HIDE:  # in a store that an earlier cagul made
                require_schema(connection, NOTHING_SCHEMA)
            values: dict[str, Any] = {"state": state, "verification": json.dumps(verification)}
            newest, measured = (
                connection.execute(NEWEST_ENCODER).mappings().first(),
                verification.get("encoder"),
            )
            if encoder is not None:
                values |= {"encoder": encoder, "encoder_made": end_of_log(connection)[0]}
            if (sha256(newest["encoder"]) if newest else None) != under:
                raise StoreError(
                    "Another request changed the encoder meanwhile.",
                    f"Run the same command again; `add` with --id {name}.",
                    "store-request",
                )
            connection.execute(REQUESTS.update().where(REQUESTS.c.id == name).values(**values))
            self._append(connection, name, state, {"verification": verification, "encoder": sha256(encoder)})
            if encoder is None or not measured:
                return []
            with understood(self.path):
                unproven = verified(connection, lambda other: other != measured)
            self._unprove(connection, unproven, f"the encoder of request {name} took the place of its own")
            return unproven

    def extend(self, name: str, until: date, why: str) -> Deadline:
        """Write down that a request will be answered until a later day. Raises StoreError where it cannot."""
        with self._writing() as connection:
            self._row(connection, name)
            require_extension(deadlines_of(entries_of(connection))[name], until)
            require_schema(connection, NOTES_SCHEMA)
            self._append(connection, name, EXTENDED, {"until": until.isoformat(), "why": require_reason(why)})
            return deadlines_of(entries_of(connection))[name]

    def revoke(self, name: str, said: Mapping[str, Any] | None = None) -> list[str]:
        """Take a request back and erase what it brought: templates, names, text, pictures, encoder. ``said``
        is what the log is to say of it.

        Returns the requests that were verified under the erased encoder: they are merely enrolled again.
        Raises StoreError when it is revoked already, or revoked now but not yet overwritten because another
        process reads.
        """
        with self._writing() as connection:
            row = self._row(connection, name)
            if row["state"] == "revoked":
                raise StoreError(
                    f"Request {name} is revoked already.", "Nothing is left to do.", "store-request"
                )
            connection.execute(PICTURES.delete().where(PICTURES.c.request == name))
            drop_hashes(connection, name)
            connection.execute(
                REQUESTS.update()
                .where(REQUESTS.c.id == name)
                .values(
                    state="revoked",
                    subject="",
                    by="",
                    vectors=None,
                    best=None,
                    encoder=None,
                    encoder_made=None,
                )
            )
            self._append(connection, name, "revoked", dict(said or {}))
            with understood(self.path):
                gone = None if row["encoder"] is None else encoder_of(connection, row)
                unproven = verified(connection, lambda other: other == gone)
            self._unprove(connection, unproven, f"its encoder went with request {name}")
            set_fact(connection, "erase", True)
        if not self._erase():
            raise StoreError(
                f"Request {name} is revoked, but another process is reading, so old bytes are still on the "
                "disk.",
                "The next command that opens the store with its key erases them.",
                "store-locked",
            )
        return unproven

    def head(self) -> Head:
        """Where the log ends, and the states of all requests: to be kept outside."""
        with self._reading() as connection:
            return head_of(connection)

    def log_restored(self, content: dict[str, Any]) -> None:
        """Write down that this store was restored."""
        with self._writing() as connection:
            self._note_restored(connection, content)

    def replace(self, other: Store, content: Callable[[Head, Sequence[Entry]], dict[str, Any]]) -> None:
        """Put all that ``other`` holds, opened with its key, in place of what this store holds, in one
        transaction, and overwrite what was here. ``content`` is given the head and the log of what is
        replaced: it returns what the log is to say, or raises to leave all as it is.
        """
        with (
            self._writing() as connection,
            understood(self.path),
            other._reading() as source,
        ):
            said = content(head_of(connection), entries_of(connection))
            replace_rows(connection, source)
            set_version(connection, version_of(source))
            with self._keyed(other._key()):
                self._note_restored(connection, said)
            set_fact(connection, "erase", True)
        self.key = other._key()
        self.reload()  # and overwrite

    @contextmanager
    def _keyed(self, key: StoreKey) -> Iterator[None]:
        """Write under this key, until it is known whether that was done."""
        before, self.key = self.key, key
        try:
            yield
        finally:
            self.key = before

    def _note_restored(self, connection: Connection, content: dict[str, Any]) -> None:
        require_schema(connection, NOTES_SCHEMA)
        self._append(connection, WHOLE_STORE, RESTORED, content)

    def change_key(self, new: StoreKey) -> int:
        """Seal all that is sealed again, under another key, in one transaction: at any time exactly one of
        the two opens the store. What was sealed before is overwritten. Returns the number of requests with
        sealed parts. Raises StoreError for the key that it has, and for a part that the old one does not
        open.
        """
        old = self._key()
        if new.is_same(old):
            raise StoreError(
                "The new key is the one that the store has.", "Give another file with --new-key.", "store-key"
            )
        new = new.with_names(old.names_secret)
        was, mark = (key.mark(self.facts["id"], "store") for key in (old, new))
        with self._writing() as connection, understood(self.path), self._keyed(new):
            sealed = seal_again(connection, old, new)
            require_schema(connection, NOTES_SCHEMA)
            set_fact(connection, "key", mark)
            set_fact(connection, NAMES_SECRET, new.seal(old.names_secret, NAMES_SECRET).hex())
            set_fact(connection, "mark", new.mark(to_mark(facts_of(connection), connection)))
            set_fact(connection, "erase", True)
            said = {"was": fingerprint_of(was), "key": fingerprint_of(mark), "sealed": sealed}
            self._append(connection, WHOLE_STORE, ROTATED, said)
        self.key = new
        self.reload()
        return len(sealed)

    def _erase(self) -> bool:
        """Rewrite the file without its free pages and empty the write-ahead log; False while another process
        reads.
        """
        with explained(self.path):
            run_raw(self.engine, "VACUUM")
            busy = bool(run_raw(self.engine, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0])
        if not busy:
            with self._writing() as connection:
                connection.execute(FACTS.delete().where(FACTS.c.name == "erase"))
        return not busy

    # -- inside

    def _unprove(
        self, connection: Connection, names: Sequence[str], why: str, more: Mapping[str, Any] | None = None
    ) -> None:
        """Of what was found under an encoder that is gone, or with fewer names, the finetune alone is still
        so. ``more`` is what else the log is to say.
        """
        for name in names:
            earlier = parse_json(self._row(connection, name)["verification"])
            kept = {key: value for key, value in earlier.items() if key == "escalation"}
            values = {"state": "enrolled", "verification": json.dumps(kept)}
            connection.execute(REQUESTS.update().where(REQUESTS.c.id == name).values(**values))
            self._append(connection, name, "enrolled", {"verification": kept, "why": why, **(more or {})})

    def _row(self, connection: Connection, name: str) -> Any:
        wanted = REQUESTS.select().where(REQUESTS.c.id == name)
        row = connection.execute(wanted).mappings().first() if is_id(name) else None
        if row is None:
            known = connection.execute(REQUESTS.select().with_only_columns(REQUESTS.c.id)).scalars().all()
            raise StoreError(
                f"There is no request {name!r}.",
                did_you_mean(name, known) if known else "The store is empty.",
                "store-request",
            )
        return row

    def _append(
        self,
        connection: Connection,
        request: str,
        action: str,
        content: dict[str, Any],
        at: str | None = None,
    ) -> None:
        """One entry more, and the keyed mark of where the log ends."""
        key = self._key()
        end, previous = end_of_log(connection)
        number, at, content = end + 1, at or now(), content | {"actor": self.actor}
        own_hash = entry_hash(number, at, request, action, content, previous)
        connection.execute(
            LOG.insert().values(
                number=number,
                at=at,
                request=request,
                action=action,
                content=json.dumps(content),
                previous=previous,
                hash=own_hash,
            )
        )
        set_fact(connection, "head", key.mark(f"{number} {own_hash}"))

    def _key(self) -> StoreKey:
        if self.key is None:
            raise StoreError(
                "The store is changed with its key alone.", "Give the key file with --key.", "store-key"
            )
        return self.key

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with understood(self.path), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with explained(self.path), writing(self.engine) as connection:
            self._require_key(connection)
            yield connection
