"""Finetuning baselines: one trainer on transformers.Trainer and peft for every loss. The given host is never
changed.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cagul.baselines.dataset import Collator, FinetuneRecords, UnlearningDataset
from cagul.baselines.losses import LOSSES
from cagul.baselines.settings import FinetuneConfig
from cagul.baselines.trainer import (
    Diverged,
    LossTrainer,
    TrainingMonitor,
    arguments,
    checkpoint_folder,
    last_checkpoint,
)
from cagul.data.records import Record, Splits
from cagul.environment import GIB, require_extra, versions
from cagul.errors import DataError, HostError, UsageError
from cagul.files import atomic_folder, digest, write_json
from cagul.host.frozen import FrozenHost
from cagul.training.memory import PeakMemory
from cagul.training.progress import Progress, silent

MIB = GIB // 1024


@dataclass(frozen=True)
class Finetuned:
    """A host over a tuned copy of the given one, LoRA merged, and what it took.

    ``facts``: loss, steps, resumed_from, stopped, last (the last step's loss by side), seconds, cpu_seconds,
    trainable_parameters, peak_memory_mib (above the loaded copy, by cagul.training.memory: gradients,
    optimiser, activations, and the host itself where the loss reads it), and ``diverged``: None, or {"step",
    "loss", "last_loss"} of the step whose loss was no number. Then the weights are those before that step's
    update, and answers mean little.
    """

    host: FrozenHost
    facts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """A checkpoint folder that ``FrozenHost.load`` reads, with its processor, whole or not at all; the
        facts lie beside.

        Raises WriteError.
        """
        with atomic_folder(folder) as temporary:
            self.host.model.save_pretrained(temporary)
            self.host.processor.save_pretrained(temporary)
            write_json(temporary / "finetuned.json", self.facts)


def finetune(
    host: FrozenHost,
    splits: Splits,
    config: FinetuneConfig,
    *,
    work: Path | None = None,
    refusals: list[str] | None = None,
    progress: Progress = silent,
) -> Finetuned:
    """Unlearn ``splits.forget`` by finetuning a copy of ``host``; unseen and calibration people are never
    opened.

    The private records of forget are unlearned; kept are the answers of retain and of what is not private of
    forget. ``work`` holds checkpoints, so that a killed run goes on; they are removed at its end.

    Raises DataError for a forget set without private records, for nothing to keep where the loss keeps
    something, and for a record longer than the host's context; HostError when the given host changed or its
    projector is not known.
    """
    return _finetune(host, _records_of(splits), config, work, refusals, progress)


def _records_of(splits: Splits) -> FinetuneRecords:
    splits = splits.for_training()
    private = [r for r in splits.forget if r.kind == "private"]
    not_private = [r for r in splits.forget if r.kind != "private"]
    return FinetuneRecords(private, not_private, splits.retain)


def finetune_adapter(
    host: FrozenHost,
    splits: Splits,
    config: FinetuneConfig,
    *,
    work: Path | None = None,
    refusals: list[str] | None = None,
    progress: Progress = silent,
) -> Finetuned:
    """The same as ``finetune``, but LoRA stays beside the host's own weights: the new host shares them, and
    no weight is copied.

    Raises what ``finetune`` raises, and UsageError for a config that trains more than LoRA.
    """
    if not config.lora or config.projector:
        raise UsageError(
            f"An adapter is LoRA alone, and lora={config.lora}, projector={config.projector} trains more.",
            "Set lora=true and projector=false.",
            "config",
        )
    return _finetune(host, _records_of(splits), config, work, refusals, progress, merge=False)


def memorise(
    host: FrozenHost,
    records: list[Record],
    config: FinetuneConfig,
    *,
    work: Path | None = None,
    progress: Progress = silent,
) -> Finetuned:
    """Finetune a copy of ``host`` on all ``records``, whatever their kind. Raises what ``finetune``
    raises.
    """
    return _finetune(host, FinetuneRecords(records), config, work, None, progress)


def _finetune(
    host: FrozenHost,
    records: FinetuneRecords,
    config: FinetuneConfig,
    work: Path | None,
    refusals: list[str] | None,
    progress: Progress,
    *,
    merge: bool = True,
) -> Finetuned:
    _require_records(records, config)
    if config.lora:
        require_extra("Finetuning with LoRA", "peft", "baselines")
    before = host.fingerprint()
    steps = config.steps or math.ceil(config.epochs * len(records.forget) / config.batch)
    rows = steps * config.batch
    dataset = UnlearningDataset(records, rows, seed=config.seed, augment=config.augment, refusals=refusals)
    collator = Collator(host, LOSSES[config.loss].sides, config.seed)
    collator.check(dataset)
    everything = [[r.model_dump(mode="json") for r in part] for part in records.parts]
    mark = digest([config.model_dump(), before, everything, refusals, versions()])
    monitor = TrainingMonitor(config, steps, progress)
    with checkpoint_folder(work, mark) as folder:
        tuned = _to_train(host, config, shared=not merge)
        options = arguments(host, config, steps, folder, keep=work is not None)
        trainer = LossTrainer(
            host, config, monitor, model=tuned, args=options, train_dataset=dataset, data_collator=collator
        )
        start = last_checkpoint(folder)
        diverged = None
        with PeakMemory() as peak:
            try:
                trainer.train(resume_from_checkpoint=str(start) if start else None)
            except Diverged as at:
                diverged = {"step": at.step, "loss": str(at.loss), "last_loss": monitor.last_loss}
    trainable = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    finished = _finished(host, tuned, config, merge=merge)
    if host.fingerprint() != before:
        raise HostError(
            "The given host's weights changed while a copy of it was finetuned.",
            "This is a bug: please report it.",
            "host-changed",
        )
    return Finetuned(finished, _facts(host, config, monitor, peak, trainable, diverged))


def _require_records(records: FinetuneRecords, config: FinetuneConfig) -> None:
    """Raises DataError for nothing to unlearn, and for nothing to keep where the loss keeps something."""
    if not records.forget:
        raise DataError(
            f"There is no private record to finetune on with the loss {config.loss}.",
            'Give records of the forget set "kind": "private".',
            "records",
        )
    if "retain" in LOSSES[config.loss].sides and not (records.retain or records.not_private):
        raise DataError(
            f"The loss {config.loss} keeps what is not to be forgotten, and retain is empty.",
            "Leave records of others in, or take a loss such as ga or npo.",
            "subjects",
        )


def _finished(host: FrozenHost, tuned: Any, config: FinetuneConfig, *, merge: bool) -> FrozenHost:
    """The tuned model as a host: LoRA merged, every weight in the given host's dtype; or LoRA beside the
    weights, as it was trained.
    """
    name = f"{host.name} after {config.loss}"
    if not merge:
        return FrozenHost(tuned, host.processor, name, unproven=not host.family.proven)
    model = tuned.merge_and_unload() if config.lora else tuned
    dtypes = {name: parameter.dtype for name, parameter in host.model.named_parameters()}
    for parameter_name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(dtypes[parameter_name])
    return FrozenHost(model, host.processor, name, unproven=not host.family.proven)


def _facts(
    host: FrozenHost,
    config: FinetuneConfig,
    monitor: TrainingMonitor,
    peak: PeakMemory,
    trainable: int,
    diverged: dict[str, Any] | None,
) -> dict[str, Any]:
    seconds, cpu_seconds = monitor.spent()
    reference = sum(p.nbytes for p in host.model.parameters()) if LOSSES[config.loss].reference else 0
    return {
        "loss": config.loss,
        "lora": config.lora,
        "rank": config.rank_of(host) if config.lora else None,
        "rate": config.rate,
        "seed": config.seed,
        "steps": monitor.steps,
        "resumed_from": monitor.resumed_from,
        "stopped": monitor.stopped or ("diverged" if diverged else "all steps done"),
        "diverged": diverged,
        "last": monitor.means | {"loss": monitor.last_loss},
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "trainable_parameters": trainable,
        "peak_memory_mib": round((peak.bytes + reference) / MIB, 1),
        "threads": torch.get_num_threads(),
    }


def _to_train(host: FrozenHost, config: FinetuneConfig, *, shared: bool) -> Any:
    """A copy of the host's model in which what is to be trained takes gradients, in float32 whatever the
    host's dtype; ``shared`` copies the modules alone, over the host's own weights.

    Half precision loses updates as small as these; a float16 or bfloat16 host is trained under autocast.
    """
    torch.manual_seed(config.seed)  # LoRA's start
    weights = (*host.model.parameters(), *host.model.buffers()) if shared else ()
    model: Any = copy.deepcopy(host.model, {id(one): one for one in weights})
    projector = _projector(host) if config.projector else []
    if config.lora:
        from peft import LoraConfig, get_peft_model

        linear = [
            name
            for name, part in model.named_modules()
            if isinstance(part, nn.Linear) and name.startswith(f"{host.family.language_model}.")
        ]
        rank = config.rank_of(host)
        lora = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=config.dropout,
            target_modules=linear,
            modules_to_save=projector or None,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a name that peft still asks transformers for
            model = get_peft_model(model, lora)
    else:
        for name in [host.family.language_model, "lm_head", *projector]:
            model.get_submodule(name).requires_grad_(True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _projector(host: FrozenHost) -> list[str]:
    """Names of the projector's modules; of a list of modules those in it.

    Raises HostError for a family whose projector is not known.
    """
    names = []
    for name in host.family.projector:
        try:
            part = host.model.get_submodule(name)
        except AttributeError:
            raise HostError(
                f"The host has no projector {name}, where its family keeps it.",
                "Set projector=false to train the language model alone.",
                "projector",
            ) from None
        names += [f"{name}.{n}" for n in range(len(part))] if isinstance(part, nn.ModuleList) else [name]
    return names
