"""Fixtures of deletion requests on the tiny host: records with calibration people, a base patch, a store.

What takes time is made once a session; a store is copied for every test.
"""

from __future__ import annotations

import json
import shutil

import pytest

from cagul.config import load_config
from cagul.data.records import load_records, split_records

QUICK = [
    "training.steps=8",
    "training.batch=4",
    "training.augment=0",
    "gate.augment=1",
    "encoder.hidden=16",
    "selection.k=6",
    "gate.false_alarms=0.3",
    "gate.pool=layout",  # moments of a random host do not tell people apart
    "gate.edits=false",
]


def pictures_of(records, subject):
    return list(dict.fromkeys(r.image for r in records if r.subject == subject))


def stub_verification(monkeypatch, *values):
    """Make verification find these leaks, one after the other, of facts that the host tells."""
    from cagul.deletion import escalation, service

    left, true = list(values), service.verify

    def verify(*given):
        figures = true(*given)
        return (
            figures
            | dict.fromkeys(
                ("leak", "leak_fired", "leak_known"), figures["hit_rate"] | {"value": left.pop(0)}
            )
            | dict.fromkeys(("hit_rate", "host_leak"), figures["hit_rate"] | {"value": 1.0})
        )

    monkeypatch.setattr(service, "verify", verify)
    monkeypatch.setattr(escalation, "STEPS", 4)


@pytest.fixture(scope="session")
def records_file(tiny_records, tmp_path_factory):
    """The tiny records, whose last two people are for calibration."""
    path = tmp_path_factory.mktemp("calibrated") / "records.jsonl"
    rows = [json.loads(line) for line in tiny_records.read_text().splitlines()]
    for row in rows:
        row["group"] = "calibration" if row["group"] == "unseen" else row["group"]
        row["image"] = str(tiny_records.parent / row["image"])
        row["views"] = [str(tiny_records.parent / view) for view in row.get("views", [])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def records(records_file):
    return load_records(records_file)


@pytest.fixture(scope="session")
def base_folder(tiny_folder, records, tmp_path_factory):
    """A patch that hides p0, saved."""
    from cagul.host.frozen import FrozenHost
    from cagul.training.unlearn import unlearn

    patch = unlearn(
        FrozenHost.load(tiny_folder), split_records(records, ["p0"]), load_config("default", QUICK)
    )
    return patch.save(tmp_path_factory.mktemp("base") / "patch")


@pytest.fixture
def base(base_folder):
    from cagul.guard.patch import Patch

    return Patch.load(base_folder)


@pytest.fixture(scope="session")
def empty_store(tiny_folder, base_folder, records, tmp_path_factory):
    """A folder with a store without requests and its key."""
    from cagul.deletion.service import make_store
    from cagul.guard.patch import Patch
    from cagul.host.frozen import FrozenHost

    folder = tmp_path_factory.mktemp("store")
    host, patch = FrozenHost.load(tiny_folder), Patch.load(base_folder)
    make_store(folder / "requests.db", folder / "key", host, patch, records, {})
    return folder


@pytest.fixture
def service(tiny_host, base, empty_store, tmp_path):
    """The service on a store of this test's own: ``requests.db`` and ``key`` in ``tmp_path``."""
    from cagul.deletion.service import open_service

    shutil.copytree(empty_store, tmp_path, dirs_exist_ok=True)
    return open_service(tmp_path / "requests.db", tmp_path / "key", tiny_host, base)
