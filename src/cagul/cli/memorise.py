"""``cagul memorise``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.common import load_host, read_usable_records, require_free, set_up
from cagul.cli.terminal import RESUMES, bold, if_interrupted, out, print_json, progress_bar
from cagul.config import checked
from cagul.data.groups import HELD_OUT_GROUPS
from cagul.data.records import Record
from cagul.data.subjects import known_subjects, parse_subjects
from cagul.environment import require_extra
from cagul.errors import DataError, UsageError
from cagul.evaluation.metrics.memorisation import ENOUGH
from cagul.files import require_writable

if TYPE_CHECKING:
    from cagul.baselines.settings import FinetuneConfig

DEFAULTS = {"loss": "memorise", "epochs": 10.0, "augment": 0}


@if_interrupted(RESUMES)
def memorise(
    host: options.Host,
    records: options.Records,
    target: Annotated[Path, typer.Option("--out", help="Folder of the new host.")],
    exclude: Annotated[
        str,
        typer.Option(
            "--exclude",
            help="Subjects it is not to know, p003,p007 or @list.txt: then it is the retain host.",
        ),
    ] = "",
    lora: Annotated[
        bool, typer.Option("--lora/--full", help="LoRA on the language model, or all its weights.")
    ] = True,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value of the finetuning, such as rate=1e-4 or epochs=5."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Short for --set seed=N.")] = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Finetune a copy of a host on records until it knows them, and check that it does. If
    interrupted, run the same command again to resume.

    Records of held-out groups (unseen, calibration, look-alike, no-person) are left out, as training leaves
    them out.
    """
    config = _config(lora, seed, settings)
    trained, excluded = _parts(read_usable_records(records), exclude, str(records))
    require_free(target)
    work = target.parent / f".{target.name}.work"
    require_writable(work)
    set_up(threads)
    from cagul.baselines.finetune import memorise as train
    from cagul.evaluation.memorisation import memorised

    try:
        frozen = load_host(host, device, dtype)
        with progress_bar(json) as progress:
            made = train(frozen, trained, config, work=work, progress=progress)
            checks = {"told": memorised(made.host, trained, progress=progress)}
            if excluded:
                checks["excluded"] = memorised(made.host, excluded, progress=progress)
        people = {"told": len({r.subject for r in trained}), "excluded": len({r.subject for r in excluded})}
        hosts = {"from_sha256": frozen.fingerprint(), "sha256": made.host.fingerprint()}
        made.facts.update(hosts | {"people": people, "memorised": checks})
        made.save(target)
    finally:
        if target.exists() or not any(work.glob("finetune/checkpoint-*")):
            shutil.rmtree(work, ignore_errors=True)
    if json:
        print_json({"out": str(target)} | made.facts)
        return
    _print_result(made.facts, target, len(trained))


def _config(lora: bool, seed: int | None, settings: list[str] | None) -> FinetuneConfig:
    """The finetuning that the options ask for.

    Raises UsageError for a loss that unlearns, and for LoRA without peft.
    """
    from cagul.baselines.settings import FinetuneConfig

    given = DEFAULTS | {"lora": lora} | ({} if seed is None else {"seed": seed})
    config = checked(FinetuneConfig, given, settings)
    if config.loss != "memorise":
        raise UsageError(
            f"--set loss={config.loss} does not memorise.", "Leave it out; cagul compare unlearns.", "config"
        )
    if config.lora:
        require_extra("`cagul memorise` with LoRA", "peft", "baselines")
    return config


def _print_result(facts: dict[str, Any], target: Path, records: int) -> None:
    """What was trained, and whether the model knows it; ``facts`` are those of the new host."""
    from cagul.evaluation.memorisation import SORTS

    if facts["resumed_from"]:
        out.say(f"Resumed from step {facts['resumed_from']} of an interrupted run.")
    if diverged := facts["diverged"]:
        out.say(
            f"Training ended at step {diverged['step']}, where the loss was {diverged['loss']}. Lower "
            "the rate with --set rate=...",
            style="bold yellow",
        )
    out.say(
        f"Model trained on {records} records about {facts['people']['told']} people; saved to ",
        bold(target),
        f": {facts['steps']} steps, {facts['seconds']:.0f} s, {facts['trainable_parameters']:,} parameters "
        "trained.",
    )
    for name, check in facts["memorised"].items():
        shares = [f"{check[sort]['value']:.0%} {where}" for sort, where in SORTS.items() if sort in check]
        what = "it was trained on" if name == "told" else "it was not to know"
        reveals = ", ".join(shares) or "none: there are none"
        out.say(f"Memorisation check: of the private facts that {what}, it reveals {reveals}.")
    if facts["memorised"]["told"].get("image", {"value": 0})["value"] < ENOUGH:
        out.say(
            f"Warning: below {ENOUGH:.0%} on training images, so forgetting would mean little. Train for "
            "more epochs, or with another rate.",
            style="bold yellow",
        )


def _parts(records: list[Record], exclude: str, source: str) -> tuple[list[Record], list[Record]]:
    """Records to train on and records to leave out.

    Raises DataError for an unknown subject and when no record is left to train on.
    """
    usable = [r for r in records if r.group not in HELD_OUT_GROUPS]
    subjects = {r.subject for r in usable}
    excluded = known_subjects(parse_subjects(exclude, subjects), subjects, "record to train on")
    trained = [r for r in usable if r.subject not in excluded]
    if not trained:
        raise DataError(
            f"{source} has {len(records)} records, and after --exclude and held-out groups none is left to "
            "train on.",
            "Exclude fewer subjects.",
            "subjects",
        )
    return trained, [r for r in usable if r.subject in excluded]
