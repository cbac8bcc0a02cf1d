"""cagul: a frozen vision-language model forgets people, by two small modules and without a changed weight.

Public names are loaded on first use, so that importing cagul imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cagul.config import Config, load_config
    from cagul.data.records import Record, Splits, load_records, split_records
    from cagul.errors import CagulError
    from cagul.guard.decision import Answer, Decision
    from cagul.guard.guard import Guard
    from cagul.guard.patch import Patch
    from cagul.guard.selfcheck import load_host
    from cagul.host.frozen import FrozenHost
    from cagul.training.unlearn import unlearn

__version__ = "0.1.0"

_HOMES = {
    "Answer": "cagul.guard.decision",
    "CagulError": "cagul.errors",
    "Config": "cagul.config",
    "Decision": "cagul.guard.decision",
    "FrozenHost": "cagul.host.frozen",
    "Guard": "cagul.guard.guard",
    "Patch": "cagul.guard.patch",
    "Record": "cagul.data.records",
    "Splits": "cagul.data.records",
    "load_config": "cagul.config",
    "load_host": "cagul.guard.selfcheck",
    "load_records": "cagul.data.records",
    "split_records": "cagul.data.records",
    "unlearn": "cagul.training.unlearn",
}

__all__ = [
    "Answer",
    "CagulError",
    "Config",
    "Decision",
    "FrozenHost",
    "Guard",
    "Patch",
    "Record",
    "Splits",
    "load_config",
    "load_host",
    "load_records",
    "split_records",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cagul' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
