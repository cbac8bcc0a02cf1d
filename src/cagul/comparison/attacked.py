"""The attacks of ``cagul attack --quick`` on every method of a comparison, with one budget for all."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from cagul.comparison.methods import ComparedMethod
from cagul.data.records import Splits
from cagul.evaluation.attacks import gradients, likelihood
from cagul.evaluation.attacks.asking import Column, Setting
from cagul.evaluation.attacks.query import Material, facts_to_tell
from cagul.evaluation.attacks.registry import ALL, Attack
from cagul.evaluation.attacks.run import QUICK
from cagul.evaluation.result_rows import ATTACK
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.training.progress import Progress

BUDGETS = {"quick": QUICK}
NO_ENCODER = "no encoder of cagul's rewrites its tokens"
HELD_ENCODER = ("cagul", "ablation")  # sorts of methods that have one


def attacks_asked(name: str) -> dict[str, Any]:
    """What a comparison's header row holds of its attacks: the name of the budget, the budget, and a card of
    each attack.
    """
    return {"name": name, **asdict(BUDGETS[name]), "cards": {one.name: asdict(one.card) for one in ALL}}


def attack_method(
    name: str,
    method: ComparedMethod,
    model: FrozenHost | Guard,
    splits: Splits,
    budget: str,
    prefix: str,
    run: Run,
    progress: Progress,
) -> dict[str, Any]:
    """Ask one method what has no row yet; ``prefix`` is what the rows' keys begin with.

    Returns ``seconds`` of this call, and why attacks are ``absent``. Raises DataError as ``facts_to_tell``.
    """
    began, allowed = time.perf_counter(), BUDGETS[budget]
    facts = facts_to_tell(splits, allowed.facts, allowed.seed)
    material = Material(facts, splits, allowed.queries, allowed.seed, allowed.crafted)
    setting = Setting(material, [Column(f"{name}{ATTACK}", model, f"{prefix}{ATTACK}")], run, progress)
    absent = {}
    for one in ALL:
        reason = _cannot(one, method, model) or one.run(setting)
        if reason:
            absent[one.name] = reason
    return {"seconds": round(time.perf_counter() - began, 1), "absent": absent}


def _cannot(attack: Attack, method: ComparedMethod, model: FrozenHost | Guard) -> str:
    """Why a method offers nothing to an attack; else an empty text."""
    if attack is likelihood.ATTACK:
        return method.silent_likelihoods
    without_encoder = isinstance(model, Guard) and method.sort not in HELD_ENCODER
    return NO_ENCODER if attack is gradients.ENCODER and without_encoder else ""
