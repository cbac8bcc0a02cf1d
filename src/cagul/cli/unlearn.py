"""``cagul unlearn``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from cagul.cli.common import DeviceOption, HostOption, JsonOption, ThreadsOption, load_host, out, print_json, progress_bar, set_up


def unlearn(
    host: HostOption,
    records: Annotated[Path, typer.Option("--records", help="Records file (JSON Lines).")],
    forget: Annotated[str, typer.Option("--forget", help="Subjects: p003,p007 or @list.txt.")],
    patch: Annotated[Path, typer.Option("--out", help="Folder of the new patch.")],
    unseen: Annotated[str, typer.Option("--unseen", help="Subjects that training must not open.")] = "",
    config: Annotated[str, typer.Option("--config", help="default, paper or a YAML file.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, such as selection.k=0.25.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Short for --set training.seed=N.")] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """Train a patch that makes a frozen host forget people. Killed and started again, it goes on where it was."""
    from cagul.config import load_config
    from cagul.data.records import load_records, parse_subjects, split_records
    from cagul.errors import UsageError
    from cagul.runs import digest, require_writable, versions, writable, write_text

    settings = [*(settings or []), *([f"training.seed={seed}"] if seed is not None else [])]
    chosen = load_config(config, settings)
    splits = split_records(load_records(records), parse_subjects(forget), parse_subjects(unseen))
    with writable(patch):
        taken = patch.exists() and (not patch.is_dir() or any(patch.iterdir()))
    if taken:
        raise UsageError(f"{patch} is already there.", "Give another --out, or remove it.", "usage")
    work = patch.parent / f".{patch.name}.work"
    require_writable(work)
    set_up(threads)
    from cagul.training import unlearn as train

    frozen = load_host(host, device)
    everybody = {name: [r.model_dump(mode="json") for r in part] for name, part in vars(splits).items()}
    mark = digest([chosen.model_dump(), frozen.fingerprint(), everybody, versions()])
    mark_file = work / "mark"
    if mark_file.exists() and mark_file.read_text() != mark:  # another job's checkpoint
        (work / "encoder.pt").unlink(missing_ok=True)
    write_text(mark_file, mark)
    with progress_bar(json) as progress:
        made = train(frozen, splits, chosen, work=work, progress=progress)
    made.save(patch)
    shutil.rmtree(work, ignore_errors=True)
    if json:
        print_json({"patch": str(patch)} | made.describe())
        return
    facts = made.facts
    if facts["resumed_from"]:
        out.print(f"Went on from step {facts['resumed_from']} of {facts['steps']}, where an earlier run had stopped.")
    out.print(f"Patch for {facts['people']} people in [bold]{patch}[/], {facts['seconds']:.0f} s on {facts['threads']} thread(s).")
    out.print(f"Trained parameters {made.parameters():,}; host unchanged, SHA-256 {made.host['sha256'][:16]}.")
    out.print(f"Gate {chosen.gate.kind}: threshold from {facts['calibration_people']} people apart; at most "
              f"{facts['promised_false_alarms']:.2%} of unknown people's pictures should fire.")  # fmt: skip
    if chosen.gate.kind == "enrolment":
        out.print("The patch holds face templates, which are personal data: keep it as you keep the pictures.")
    out.print(f'Next: cagul ask --host {host} --patch {patch} --image PICTURE "QUESTION"', soft_wrap=True)
