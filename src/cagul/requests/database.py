"""SQLite as a store needs it: private, durable, overwriting what is deleted; its refusals in our words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError

from cagul.errors import StoreError, WriteError

BUSY_SECONDS = 20.0
PRAGMAS = (f"busy_timeout={int(1000 * BUSY_SECONDS)}", "secure_delete=ON", "foreign_keys=ON", "synchronous=FULL",
            "temp_store=MEMORY")  # fmt: skip


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite refuses into our errors."""
    try:
        yield
    except (DatabaseError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error)
        if "locked" in reason or "busy" in reason:
            raise StoreError(f"{path} is locked: another process has been writing for {BUSY_SECONDS:.0f} seconds.",
                             "Wait for it and run the same command again.", "store-locked") from error  # fmt: skip
        if "readonly" in reason or "unable to open" in reason or "full" in reason or "disk I/O" in reason:
            raise WriteError(f"Cannot write {path}: {reason}.", "Make room, or set the permissions of file and folder.") from error
        raise StoreError(f"{path} is no whole store: {reason}.", "Restore it from a backup.", "store") from error


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
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")

    return made


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
