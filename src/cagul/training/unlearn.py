"""Training a patch: stage 1, the discriminator, is here; stage 2 is encoder_training. The host never enters
an optimiser.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from cagul.config import Config
from cagul.data.pictures import variants
from cagul.data.records import Record, Splits
from cagul.environment import GIB
from cagul.errors import DataError, HostError
from cagul.guard.patch import Patch, host_card
from cagul.host.frozen import FrozenHost
from cagul.method.gate import EnrolmentGate
from cagul.method.importance import resolve_layers
from cagul.training.distributed import SINGLE, Processes
from cagul.training.encoder import train_encoder
from cagul.training.gate import (
    calibrate_gate,
    covered,
    gate_to_add_to,
    hold_out_calibration,
    tokens_by_subject,
    train_gate,
)
from cagul.training.progress import Progress, silent
from cagul.training.token_cache import TokenCache
from cagul.training.token_store import TokenStore


def _images(records: list[Record]) -> list[Path]:
    return list(dict.fromkeys(record.image for record in records))


def _require_somebody(splits: Splits, base: Patch) -> None:
    """Raises DataError when the patch covers everybody who is to be added, or everybody who is to be
    retained.
    """
    for part, remedy in (
        (splits.forget, "Nothing is to be done; evaluate the patch as it is."),
        (splits.retain, "Add records of other people."),
    ):
        if not part:
            who = "to be added" if part is splits.forget else "of the others"
            raise DataError(
                f"The patch of {base.facts.get('people', 'some')} people fires on everybody who is {who} "
                "already.",
                remedy,
                "add-people",
            )


def unlearn(
    host: FrozenHost,
    splits: Splits,
    config: Config,
    *,
    base: Patch | None = None,
    work: Path | None = None,
    progress: Progress = silent,
    processes: Processes = SINGLE,
) -> Patch:
    """Train a patch that makes ``host`` forget the subjects of ``splits.forget``.

    The host's parameters and buffers are hashed before and after. ``work`` holds checkpoints, so that a
    killed run resumes. Unseen people are never opened here. With ``base`` the new patch forgets the people of
    that patch too: those of them who are in the records are trained on again, not retained. Several
    ``processes`` share the pictures and the rows of every step, and all return the patch.

    Raises HostError when the host changed, DataError when records do not suffice, PatchError when ``base``
    does not fit.
    """
    own = work if work is None or processes.main else work / f"process-{processes.rank}"
    store = TokenStore(config.training.token_memory * GIB, own)
    try:
        return _unlearn(
            TokenCache(host, config.training.seed, store=store, processes=processes),
            splits,
            config,
            base,
            work,
            progress,
        )
    finally:
        store.close()


def _unlearn(
    token_cache: TokenCache,
    splits: Splits,
    config: Config,
    base: Patch | None,
    work: Path | None,
    progress: Progress,
) -> Patch:
    host = token_cache.host
    began, began_cpu, before = time.perf_counter(), time.process_time(), host_card(host)
    earlier = gate_to_add_to(base, config, host) if base is not None else None
    again: list[Record] = []  # of people whom base forgets already
    if base is not None and earlier is not None:
        known = covered(earlier, base.threshold, token_cache, splits.retain + splits.forget)
        again = [r for r in splits.retain + splits.forget if r.subject in known]
        splits = replace(
            splits,
            retain=[r for r in splits.retain if r.subject not in known],
            forget=[r for r in splits.forget if r.subject not in known],
        )
        _require_somebody(splits, base)
    calibrated_on = (
        "people apart" if splits.calibration else "people taken out of retain, whom the host may know"
    )
    if base is not None and not splits.calibration:
        calibrated_on += " and the earlier gate may have learned from: the promise is not sure"
    splits = hold_out_calibration(splits, config.training.seed)
    layers = resolve_layers(config.attention.layers, host.layers)
    gate = train_gate(token_cache, splits, config, progress, earlier)
    threshold, promise = calibrate_gate(gate, token_cache, splits.calibration, config.gate, progress)
    if isinstance(gate, EnrolmentGate):
        promise["impostors"] = gate.learn_impostors(
            *tokens_by_subject(token_cache, splits.retain, config.gate.augment_others), threshold
        )
    gate_seconds, gate_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    scores = gate(token_cache.encode_images(variants(_images(splits.forget), 0)))
    promise["own_pictures_recognised"] = round(float((scores > threshold).float().mean()), 4)
    encoder, training = train_encoder(
        token_cache,
        replace(splits, forget=splits.forget + again),
        config,
        layers,
        base=base.encoder if base else None,
        progress=progress,
        checkpoint=None if work is None else work / "encoder.pt",
    )
    if host.fingerprint() != before["sha256"]:
        raise HostError(
            "The host's weights changed while the patch was trained.",
            "This is a bug: please report it.",
            "host-changed",
        )
    promise["calibrated_on"] = calibrated_on
    added = (
        {"people_before": base.facts["people"], "people_trained_again": len({r.subject for r in again})}
        if base
        else {}
    )
    facts = {
        "people": len(splits.subjects("forget")) + added.get("people_before", 0),
        **added,
        **promise,
        **training,
        "gate_seconds": round(gate_seconds, 2),
        "seconds": round(time.perf_counter() - began, 2),
        "gate_cpu_seconds": round(gate_cpu, 2),
        "cpu_seconds": round(time.process_time() - began_cpu, 2),
        "threads": torch.get_num_threads(),
    }
    return Patch(config, layers, gate, encoder, threshold, before, facts)
