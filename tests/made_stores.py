"""A store of deletion requests on made-up vectors, whose gate needs no host."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from sqlalchemy import event
from sqlalchemy.engine import Engine

from cagul.config import Config
from cagul.deletion.keys import StoreKey
from cagul.deletion.log import sha256
from cagul.deletion.store import Store
from cagul.deletion.store_gate import Enrolled, patch_hash
from cagul.guard.patch import Patch
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.gate import EnrolmentGate

SIZE, CALIBRATION = 24, 120


def vectors(seed, count=5):
    made = torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(made, dim=-1)


def make_base():
    gate = EnrolmentGate(
        torch.zeros(SIZE), torch.eye(SIZE), vectors(1), torch.tensor([0, 0, 1, 1, 1]), vectors(2, 3)
    )
    host = {"model_type": "llava", "width": 8, "sha256": "a" * 64}
    # as it was before the gate compared moments: the kept stores know its hash
    options = {"false_alarms": 0.1, "pool": "layout", "edits": False, "augment_others": 2}
    config = Config.model_validate({"encoder": {"hidden": 4, "depth": 1}, "gate": options})
    return Patch(config, frozenset({0}), gate, VisualTokenEncoder(8, 4, 1), 0.5, host, {"people": 2})


def make(folder, base):
    folder.mkdir(exist_ok=True)
    key = StoreKey.create(folder / "key")
    turned = vectors(3, CALIBRATION) @ key.rotation(SIZE)
    people = [n // 3 for n in range(CALIBRATION)]
    facts = {"host": base.host, "patch": patch_hash(base), "places": {}, "confidence": 0.0}
    return Store.create(folder / "requests.db", key, facts, people, key.seal_tensor(turned, "calibration"))


def enrol(keeper, name):
    """What the service does once it has looked: receive and enrol, with vectors that follow from the name."""
    turned = vectors(int(name[1:])) @ keeper.key.rotation(SIZE)
    keeper.store.receive(name, f"Person {name}", "the clerk")
    keeper.store.enrol(name, *keeper.seal(name, Enrolled(turned, keeper.best(turned))))


def in_use(store):
    """What ``settle`` takes for ``under`` while nothing changes."""
    found = store.encoder()
    return None if found is None else sha256(found[1])


def killed_at(at, act):
    """Run ``act`` in a process that is killed at its step ``at``: before its n-th "before_cursor_execute" or
    "commit" of a database, or beside its calls of a method of paths, such as "rename": 0 before the first
    call, 1 after it. Whether it was killed.
    """
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    torch.set_num_threads(1)  # the parent's other threads are not in a fork
    what, left = at[0], [at[1]]

    def step(*_):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        if what in ("before_cursor_execute", "commit"):
            event.listen(Engine, what, step)
        else:
            true = getattr(Path, what)
            setattr(Path, what, lambda *given, **more: (step(), true(*given, **more), step())[1])
        act()
    finally:
        os._exit(0)
