"""SQLite as a store needs it: private, durable, overwriting what is deleted; its refusals in our words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, NoResultFound

from cagul.errors import StoreError, WriteError, reason

BUSY_SECONDS = 20.0
PRAGMAS = (
    f"busy_timeout={int(1000 * BUSY_SECONDS)}",
    "secure_delete=ON",
    "foreign_keys=ON",
    "synchronous=FULL",
    "temp_store=MEMORY",
)
ALREADY = "Give another --store, or go on with `cagul requests add`."


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite refuses, and a row that is not there, into our errors."""
    try:
        yield
    except (DatabaseError, NoResultFound, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error)
        if "locked" in reason or "busy" in reason:
            raise StoreError(
                f"{path} is locked: another process has been writing for {BUSY_SECONDS:.0f} seconds.",
                "Wait for it and run the same command again.",
                "store-locked",
            ) from error
        if "readonly" in reason or "unable to open" in reason or "full" in reason or "disk I/O" in reason:
            raise WriteError(
                f"Cannot write {path}: {reason}.", "Make room, or set the permissions of file and folder."
            ) from error
        if "not a database" in reason:
            raise StoreError(
                f"{path} is no store: {reason}.",
                "Give the file that `cagul requests init` made; if it was this one, restore it from a "
                "backup.",
                "store",
            ) from error
        raise StoreError(
            f"{path} is no whole store: {reason}.", "Restore it from a backup.", "store"
        ) from error


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """The same around code that does no more than read what is stored: bytes that make no sense are no whole
    store.
    """
    with explained(path):
        try:
            yield
        # no such JSON, a fact that is not there
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise StoreError(
                f"{path} is no whole store: {reason(error)}.", "Restore it from a backup.", "store"
            ) from error


def open_engine(path: Path) -> Engine:
    """Connections that begin a writing transaction by taking the file's one write lock."""
    made = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(made, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(made, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(
            "BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN"
        )

    return made


@contextmanager
def closing(engine: Engine) -> Iterator[Engine]:
    """Close the engine's connections at the end, whatever happened."""
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that may write: done whole at the end, or not at all."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def run_raw(engine: Engine, statement: str) -> list[Any]:
    """A statement that no transaction may hold."""
    connection = engine.raw_connection()
    try:
        return connection.driver_connection.execute(statement).fetchall()  # type: ignore[union-attr]
    finally:
        connection.close()


def require_free(path: Path) -> None:
    """Raises StoreError where a store or another database lies. What a killed `init` has left is neither."""
    if path.is_file() and path.stat().st_size:
        with explained(path), closing(open_engine(path)) as engine, engine.connect() as connection:
            tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
            taken = version_of(connection) or tables
        if taken:
            raise StoreError(f"{path} is already there.", ALREADY, "store")


def version_of(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def set_version(connection: Connection, version: int) -> None:
    """Raise the schema's version to at least this."""
    connection.exec_driver_sql(f"PRAGMA user_version={max(version, version_of(connection))}")


def copy_online(engine: Engine, path: Path) -> None:
    """Copy a database as it is at one moment into a new file of mode 0600, without a write-ahead log and
    without free pages, while others read and write it. Raises WriteError, StoreError for one that is locked.
    """
    began = time.monotonic()

    def waited(status: int, *_: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > began + BUSY_SECONDS:
            raise sqlite3.OperationalError("database is locked")

    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = engine.raw_connection()
    try:
        with explained(path), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
            connection.driver_connection.backup(copy, progress=waited)  # type: ignore[union-attr]
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("VACUUM")
    finally:
        connection.close()


def require_sound(engine: Engine, path: Path) -> None:
    """Raises StoreError for a file whose pages do not fit together, as where it was copied while written."""
    with explained(path):
        found = [row[0] for row in run_raw(engine, "PRAGMA integrity_check(5)")]
        if found != ["ok"]:
            raise sqlite3.DatabaseError("; ".join(map(str, found)))


def log_to_a_neighbour(engine: Engine) -> None:
    """Write ahead from here on: readers and one writer at a time do not wait for each other."""
    run_raw(engine, "PRAGMA journal_mode=WAL")


def remove_companions(path: Path) -> None:
    """Remove a write-ahead log that a database left whose file is gone: another file in its place would take
    its pages.
    """
    for end in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)
