"""transformers' Trainer with the losses of this room: what it watches, where it stops, what a killed run goes
on from.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from cagul.baselines.losses import LOSSES, Batch
from cagul.baselines.settings import FinetuneConfig
from cagul.errors import HostError
from cagul.files import os_errors_as_write_errors, parse_json, write_text
from cagul.host.frozen import FrozenHost, checkpointing
from cagul.training.checkpoint import load_checkpoint, save_checkpoint
from cagul.training.progress import Progress

STOP_WINDOW = 5  # steps over which a stop rule averages
TRAINED = "trained.pt"
WHOLE = "whole"  # the file that a checkpoint gets last


class Diverged(Exception):  # noqa: N818 - a result, no error
    """The loss of a step is no number."""

    def __init__(self, step: int, loss: float):
        super().__init__(step, loss)
        self.step, self.loss = step, loss


class TrainingMonitor(TrainerCallback):
    """Progress, the stop rule, memory, and the mark of a checkpoint that is whole."""

    def __init__(self, config: FinetuneConfig, steps: int, progress: Progress):
        self.config, self.total, self.progress = config, steps, progress
        self.means: dict[str, float] = {}
        self.recent: list[float] = []
        self.last_loss: float | None = None
        self.stopped, self.steps, self.resumed_from = "", 0, 0
        self.began, self.before = self.clocks(), (0.0, 0.0)  # what the runs before this one took

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.steps = self.resumed_from = state.global_step
        if state.global_step:
            saved = Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE
            written = parse_json(saved.read_text("utf-8"))
            self.recent, self.before = written["recent"], written["spent"]

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.steps = state.global_step
        self.progress(f"finetuning, {self.config.loss}", self.steps, self.total)
        rule = self.config.stop_rule
        if rule is None:
            return
        self.recent = [*self.recent, self.means[rule.side]][-STOP_WINDOW:]
        mean = sum(self.recent) / len(self.recent)
        if len(self.recent) == STOP_WINDOW and rule.met(mean, self.config.stop_at):
            self.stopped = (
                f"{self.config.stop} {self.config.stop_at} at step {self.steps}: "
                f"mean loss {mean:.3f} of {STOP_WINDOW} steps"
            )
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        written = {"recent": self.recent, "spent": self.spent(), "files": _file_digests(folder)}
        write_text(folder / WHOLE, json.dumps(written))

    @staticmethod
    def clocks() -> tuple[float, float]:
        """Wall and process CPU seconds, each from a start of its own."""
        return time.perf_counter(), time.process_time()

    def spent(self) -> tuple[float, float]:
        """Wall and CPU seconds of this run and of those that it goes on from."""
        wall, cpu = (
            round(before + now - began, 2)
            for before, now, began in zip(self.before, self.clocks(), self.began, strict=True)
        )
        return wall, cpu


class LossTrainer(Trainer):
    """transformers' Trainer with a loss of ours, held against the host as it was."""

    model: Any

    def __init__(self, host: FrozenHost, settings: FinetuneConfig, watch: TrainingMonitor, **more: Any):
        super().__init__(callbacks=[watch], **more)
        self.remove_callback(PrinterCallback)
        self.host, self.settings, self.watch = host, settings, watch
        inner = self.model.get_base_model() if settings.lora else self.model
        self.language_model = inner.get_submodule(host.family.language_model)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        batch = Batch(model, self.host.model, inputs, self.settings)
        saving = checkpointing(self.language_model) if self.settings.gradient_checkpointing else nullcontext()
        # a float16 host on a CPU cannot mix with bfloat16: torch refuses to join the two
        half = torch.float16 if self.host.dtype == torch.float16 else torch.bfloat16
        with (
            saving,
            torch.autocast(self.args.device.type, half, enabled=self.host.dtype.itemsize == 2),
        ):
            loss = LOSSES[self.settings.loss].compute(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise Diverged(self.state.global_step + 1, value)
        self.watch.last_loss, self.watch.means = value, batch.means
        return loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Only what is trained. Trainer's own way writes a host under its published names and finds none of
        them again.
        """
        trained = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        save_checkpoint(Path(output_dir or str(self.args.output_dir)) / TRAINED, trained)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Raises HostError when the checkpoint does not hold every trained weight: nothing is trained on from
        half of them.
        """
        path = Path(resume_from_checkpoint) / TRAINED
        saved = load_checkpoint(path) or {}
        wanted = {name for name, p in self.model.named_parameters() if p.requires_grad}
        if saved.keys() != wanted:
            raise HostError(
                f"The checkpoint {path} holds {len(saved.keys() & wanted)} of {len(wanted)} trained weights.",
                f"Remove the folder {path.parent} and run again.",
                "checkpoint",
            )
        self.model.load_state_dict(saved, strict=False)


def arguments(
    host: FrozenHost, config: FinetuneConfig, steps: int, folder: Path, *, keep: bool
) -> TrainingArguments:
    """AdamW under a warmed-up cosine on the host's own device; rows come in the order of their numbers."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch // config.accumulate,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup * steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip,
        optim="adamw_torch",
        save_strategy="steps" if keep else "no",
        save_steps=config.checkpoint,
        save_total_limit=1,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=False,
        use_cpu=host.device.type == "cpu",
        seed=config.seed,
    )


@contextmanager
def checkpoint_folder(work: Path | None, mark: str) -> Iterator[Path]:
    """Where checkpoints go: below ``work``, cleared if they are another job's, removed at the end; without it
    nothing stays.
    """
    if work is None:
        with tempfile.TemporaryDirectory(prefix="cagul-finetune-") as temporary:
            yield Path(temporary)
        return
    folder = work / "finetune"
    marked = folder / "mark"
    with os_errors_as_write_errors(folder):
        if folder.exists() and not (marked.exists() and marked.read_text("utf-8") == mark):
            shutil.rmtree(folder)
    write_text(marked, mark)
    yield folder
    shutil.rmtree(folder)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, None without one.

    A half-written one of a killed run is removed; so is one whose files are not what was written, with a
    warning that training starts over.
    """
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for checkpoint in reversed(checkpoints):
        if not (checkpoint / WHOLE).exists():
            shutil.rmtree(checkpoint)
        elif torn := _torn_files(checkpoint):
            warnings.warn(
                f"The checkpoint {checkpoint} is torn ({', '.join(torn)}), so it is removed.", stacklevel=2
            )
            shutil.rmtree(checkpoint)
        else:
            return checkpoint
    return None


def _file_digests(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint, by its name; ``WHOLE`` itself left out."""
    digests = {}
    for path in sorted(checkpoint.iterdir()):
        if path.name != WHOLE:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _torn_files(checkpoint: Path) -> list[str]:
    """Names of the files that are not as they were written."""
    try:
        written = dict(parse_json((checkpoint / WHOLE).read_text("utf-8"))["files"])
    except (ValueError, TypeError, KeyError):
        return [WHOLE]
    now = _file_digests(checkpoint)
    return sorted(name for name in written.keys() | now.keys() if written.get(name) != now.get(name))
