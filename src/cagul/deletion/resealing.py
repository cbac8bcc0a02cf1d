"""All sealed parts of a store, sealed again under another key within one transaction.

Templates are turned from the old key's rotation into the new one's. Hashes of names stay as they are: nobody
can hash them again without the names, so their secret, which followed from the first key, is sealed in the
store.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from sqlalchemy import Connection
from torch import Tensor

from cagul.deletion.database import version_of
from cagul.deletion.keys import StoreKey
from cagul.deletion.log import sha256
from cagul.deletion.tables import CALIBRATION, HASHES, NAMES, NAMES_SCHEMA, PICTURES, REQUESTS, SealedPart
from cagul.errors import StoreError
from cagul.files import parse_json

NAMES_SECRET = "names secret"  # the fact that holds it, and what it is sealed for


def seal_again(connection: Connection, old: StoreKey, new: StoreKey) -> dict[str, dict[str, Any]]:
    """Returns, of each request with sealed parts, what the log keeps of them. Raises StoreError for a part
    that ``old`` does not open, or that is of a kind that came later.
    """
    turn = _seal_calibration(connection, old, new)
    sealed: dict[str, dict[str, Any]] = {}
    names = connection.execute(REQUESTS.select().with_only_columns(REQUESTS.c.id)).scalars().all()
    for name in names:
        row = connection.execute(REQUESTS.select().where(REQUESTS.c.id == name)).mappings().one()
        if values := _sealed_row(row, turn, old, new):
            connection.execute(REQUESTS.update().where(REQUESTS.c.id == name).values(**values))
            sealed[name] = {column: sha256(data) for column, data in values.items()}
    _seal_pictures(connection, old, new)
    for name, part in _seal_names(connection, old, new).items():
        sealed.setdefault(name, {})[NAMES] = part.logged()
    return sealed


def _seal_calibration(connection: Connection, old: StoreKey, new: StoreKey) -> Float[Tensor, "M M"]:
    """Seal the calibration people again; the map from the old rotation to the new one."""
    row = connection.execute(CALIBRATION.select()).mappings().one()
    people = len(parse_json(row["people"]))
    flat = old.open_tensor(row["vectors"], "calibration")
    size = flat.numel() // people
    turn = old.rotation(size).T @ new.rotation(size)
    turned = new.seal_tensor(flat.reshape(people, size) @ turn, "calibration")
    connection.execute(CALIBRATION.update().values(vectors=turned))
    return turn


def _sealed_row(row: Any, turn: Float[Tensor, "M M"], old: StoreKey, new: StoreKey) -> dict[str, bytes]:
    """The sealed columns of a request under the new key; without those that are empty."""
    name, values = row["id"], {}
    if row["vectors"] is not None:
        vectors = old.open_tensor(row["vectors"], f"{name} templates", len(turn))
        # unit vectors stay unit vectors, also after many changes
        turned = torch.nn.functional.normalize(vectors @ turn, dim=-1)
        values["vectors"] = new.seal_tensor(turned, f"{name} templates")
    for column in ("best", "encoder"):
        if row[column] is not None:
            label = f"{name} {column}"
            values[column] = new.seal(old.open(row[column], label), label)
    return values


def _seal_pictures(connection: Connection, old: StoreKey, new: StoreKey) -> None:
    columns = PICTURES.c
    places = connection.execute(PICTURES.select().with_only_columns(columns.request, columns.number)).all()
    for name, number in places:
        this = (columns.request == name) & (columns.number == number)
        data = connection.execute(PICTURES.select().where(this)).mappings().one()["data"]
        label = f"{name} pictures"
        connection.execute(PICTURES.update().where(this).values(data=new.seal(old.open(data, label), label)))


def _seal_names(connection: Connection, old: StoreKey, new: StoreKey) -> dict[str, SealedPart]:
    if version_of(connection) < NAMES_SCHEMA:
        return {}
    sealed = {}
    for row in connection.execute(HASHES.select()).mappings().all():
        name, part = row["request"], row["part"]
        if part != NAMES:
            raise StoreError(
                f"Request {name} has a part {part!r}, which this cagul does not know.",
                "Upgrade cagul.",
                "store",
            )
        label = f"{name} {part}"
        data = new.seal(old.open(row["data"], label), label)
        this = (HASHES.c.request == name) & (HASHES.c.part == part)
        connection.execute(HASHES.update().where(this).values(data=data))
        sealed[name] = SealedPart(data, row["count"])
    return sealed
