"""The tables of a store, and what is read of them within a transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Column, Connection, ForeignKey, Integer, LargeBinary, MetaData, Table, Text

from cagul.deletion.database import set_version, version_of
from cagul.deletion.heads import Head, RequestHead
from cagul.deletion.log import ACTIVE, START, Entry, canonical, sha256
from cagul.files import parse_json
from cagul.text.counts import counted

NAMES = "names"  # a part of HASHES
NAMES_SCHEMA = 3  # of stores that may hold names, which an earlier cagul would leave out of the guard
NOTES_SCHEMA = 4  # of stores whose log may hold entries that are no state of a request
CHANGING = ("head", "erase", "mark")  # facts that ``to_mark`` leaves out

TABLES = MetaData()
FACTS = Table("facts", TABLES, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
CALIBRATION = Table(
    "calibration",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("people", Text, nullable=False),
    Column("vectors", LargeBinary, nullable=False),
)
REQUESTS = Table(
    "requests",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("at", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("verification", Text, nullable=False),
    Column("vectors", LargeBinary),
    Column("best", LargeBinary),
    Column("encoder", LargeBinary),
    Column("encoder_made", Integer),
)


def _sealed_of_requests(name: str, *columns: Column[Any]) -> Table:
    """A table of sealed data of requests, told apart by ``columns``."""
    request: Column[Any] = Column("request", ForeignKey("requests.id"), primary_key=True)
    return Table(name, TABLES, request, *columns, Column("data", LargeBinary, nullable=False))


PICTURES = _sealed_of_requests("pictures", Column("number", Integer, primary_key=True))
# keyed hashes of what a request hides in texts: the part "names", and later ones
HASHES = _sealed_of_requests(
    "hashes", Column("part", Text, primary_key=True), Column("count", Integer, nullable=False)
)
LOG = Table(
    "log",
    TABLES,
    Column("number", Integer, primary_key=True),
    Column("at", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
TRIGGERS = {"log_no_update": "UPDATE", "log_no_delete": "DELETE"}
APPEND_ONLY = [
    f"CREATE TRIGGER {name} BEFORE {verb} ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
    for name, verb in TRIGGERS.items()
]
ROWS = 200  # that are read at once
NEWEST_ENCODER = (
    REQUESTS.select().where(REQUESTS.c.encoder.is_not(None)).order_by(REQUESTS.c.encoder_made.desc()).limit(1)
)
LAST_ENTRY = LOG.select().order_by(LOG.c.number.desc()).limit(1)


@dataclass(frozen=True)
class SealedPart:
    """Sealed hashes of a request, and of how many names they are."""

    data: bytes
    count: int

    def logged(self) -> dict[str, Any]:
        """What the log keeps of them."""
        return {"sha256": sha256(self.data), "count": self.count}


class Counted(Protocol):
    @property
    def count(self) -> int: ...


def names_text(names: Mapping[str, Counted]) -> str:
    """How many names of how many requests there are, in words."""
    count = sum(one.count for one in names.values())
    return f"{counted(count, 'name')} of {counted(len(names), 'request')}"


def names_of(connection: Connection) -> dict[str, SealedPart]:
    """The sealed names of each request that has any; of none in a store from before there were names."""
    if version_of(connection) < NAMES_SCHEMA:
        return {}
    rows = connection.execute(HASHES.select().where(HASHES.c.part == NAMES)).mappings()
    return {row["request"]: SealedPart(row["data"], row["count"]) for row in rows}


def require_schema(connection: Connection, version: int) -> None:
    """Raise an older store to this version of the schema, with the tables that it has."""
    if version >= NAMES_SCHEMA:
        HASHES.create(connection, checkfirst=True)
    set_version(connection, version)


def put_names(connection: Connection, request: str, names: SealedPart) -> None:
    """Keep the sealed names of a request, in place of those that it had. An older store gets room for them,
    and the version that an earlier cagul refuses.
    """
    require_schema(connection, NAMES_SCHEMA)
    values = {"request": request, "part": NAMES, "count": names.count, "data": names.data}
    connection.execute(HASHES.insert().prefix_with("OR REPLACE").values(**values))


def replace_rows(target: Connection, source: Connection) -> None:
    """Put all rows of ``source`` in place of all rows of ``target``, the log's too. A table that the source
    has not, as an earlier schema, is left empty.
    """
    there = {name for (name,) in source.exec_driver_sql("SELECT name FROM sqlite_master WHERE type='table'")}
    for name in TRIGGERS:
        target.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
    TABLES.create_all(target)
    for table in reversed(TABLES.sorted_tables):
        target.execute(table.delete())
    for table in TABLES.sorted_tables:
        if table.name in there:
            for rows in source.execute(table.select()).mappings().partitions(ROWS):
                target.execute(table.insert(), [dict(row) for row in rows])
    for statement in APPEND_ONLY:
        target.exec_driver_sql(statement)


def drop_hashes(connection: Connection, request: str) -> None:
    if version_of(connection) >= NAMES_SCHEMA:
        connection.execute(HASHES.delete().where(HASHES.c.request == request))


def entries_of(connection: Connection) -> list[Entry]:
    rows = connection.execute(LOG.select().order_by(LOG.c.number)).mappings()
    return [Entry(**{**row, "content": dict(parse_json(row["content"]))}) for row in rows]


def end_of_log(connection: Connection) -> tuple[int, str]:
    """Number and hash of the log's last entry."""
    last = connection.execute(LAST_ENTRY).mappings().first()
    return (last["number"], last["hash"]) if last else (0, START)


def set_fact(connection: Connection, name: str, value: Any) -> None:
    """Keep a fact in place of the one of that name."""
    row = {"name": name, "value": json.dumps(value)}
    connection.execute(FACTS.insert().prefix_with("OR REPLACE").values(**row))


def head_of(connection: Connection) -> Head:
    """The log's end, and of each request its state and last entry."""
    number, hashed = end_of_log(connection)
    columns = LOG.c.request, LOG.c.number
    numbered = LOG.select().with_only_columns(*columns).order_by(LOG.c.number)
    last = {request: number for request, number in connection.execute(numbered)}
    states = connection.execute(REQUESTS.select().with_only_columns(REQUESTS.c.id, REQUESTS.c.state))
    return Head(number, hashed, {name: RequestHead(state, last.get(name, 0)) for name, state in states})


def facts_of(connection: Connection) -> dict[str, Any]:
    return {name: parse_json(value) for name, value in connection.execute(FACTS.select())}


def to_mark(facts: dict[str, Any], connection: Connection) -> str:
    """What the key marks beside the log: the facts that never change, and the calibration. A JSON list: no
    head of a log.
    """
    row = connection.execute(CALIBRATION.select()).mappings().one()
    kept = {name: fact for name, fact in facts.items() if name not in CHANGING}
    return canonical([kept, row["people"], sha256(row["vectors"])]).decode()


def encoder_of(connection: Connection, row: Any) -> str | None:
    """What verifications call the encoder that was finetuned for the request of this ``row``."""
    # the entry that settled it; verified again since?
    made = LOG.select().where(LOG.c.number == row["encoder_made"] + 1)
    content = parse_json(connection.execute(made).mappings().one()["content"])
    return content["verification"].get("encoder")


def verified(connection: Connection, under: Callable[[str], bool]) -> list[str]:
    """Active requests that were verified under such an encoder."""
    rows = connection.execute(
        REQUESTS.select().where(REQUESTS.c.state.in_(ACTIVE)).order_by(REQUESTS.c.id)
    ).mappings()
    encoders = [(row["id"], parse_json(row["verification"]).get("encoder")) for row in rows]
    return [name for name, encoder in encoders if encoder and under(encoder)]
