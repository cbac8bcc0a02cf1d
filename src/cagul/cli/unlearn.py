"""``cagul unlearn``."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.common import load_host, processes_of, read_splits, records_by_split, require_free, set_up
from cagul.cli.names import EnrolledNames, filter_facts, names_facts, read_names, say_filter, say_names
from cagul.cli.strangers import manner, remedy, warning
from cagul.cli.terminal import FittedTable, bold, err, if_interrupted, out, plain, print_json, progress_bar
from cagul.cli.verdict import exit_unless_hidden, print_verdict
from cagul.config import Config, load_config
from cagul.data.grouping import group_by
from cagul.data.groups import HELD_OUT_GROUPS
from cagul.data.records import Splits
from cagul.environment import versions
from cagul.errors import CagulError, reason
from cagul.files import digest, require_writable, write_text
from cagul.text.counts import people

if TYPE_CHECKING:
    from cagul.evaluation.verdict import Verdict
    from cagul.guard.patch import Patch
    from cagul.host.frozen import FrozenHost
    from cagul.training.distributed import Processes
    from cagul.training.progress import Progress
    from cagul.training.stopping import CheckedState, PatchChecks


ForgetOption = Annotated[str, typer.Option("--forget", help="Subjects: p003,p007 or @list.txt.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the new patch.")]
UnseenOption = Annotated[str, typer.Option("--unseen", help="Subjects to exclude from training.")]
ConfigOption = Annotated[str, typer.Option("--config", help="default, paper, store or a YAML file.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, such as selection.k=0.25.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Short for --set training.seed=N.")]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        help="End training after so many, whatever its checks say. Short for --set training.minutes=N.",
    ),
]
BaseOption = Annotated[
    Path | None,
    typer.Option("--from", help="A patch to add these people to; it keeps forgetting those it forgets."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Measure one batch, say what it will take, write nothing.")
]
NoFilterOption = Annotated[
    bool,
    typer.Option(
        "--no-filter",
        help="Seal no values for the output filter beside the names: the host is not asked about them.",
    ),
]


@if_interrupted("Run the same command again to resume. A --dry-run keeps nothing.")
def unlearn(
    host: options.Host,
    records: options.Records,
    forget: ForgetOption,
    patch: OutOption,
    unseen: UnseenOption = "",
    config: ConfigOption = "default",
    settings: SettingsOption = None,
    seed: SeedOption = None,
    minutes: MinutesOption = None,
    base: BaseOption = None,
    dry_run: DryRunOption = False,
    name: options.Names = None,
    names_from_answers: options.NamesFromAnswers = False,
    one_word_names: options.OneWordNames = False,
    names_key: options.NamesKey = None,
    no_filter: NoFilterOption = False,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    join_timeout: options.JoinTimeout = 10.0,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Train a patch that makes a frozen host forget people, and check it on held-out questions (exit code 8
    if it does not hide; it is kept). If interrupted, run the same command again to resume.
    """
    from cagul.guard.patch import Patch
    from cagul.guard.sealed_names import find_sealed
    from cagul.training.unlearn import require_nameless

    short = {"training.seed": seed, "training.minutes": minutes}
    settings = [*(settings or []), *(f"{key}={value}" for key, value in short.items() if value is not None)]
    # a base without names may be given a key: that of the new patch
    start = Patch.load(base, names_key if find_sealed(base) else None) if base else None
    chosen = load_config(start.config if start and config == "default" else config, settings)
    splits = read_splits(records, forget, unseen)
    require_free(patch)
    named = read_names(name or [], splits.forget, names_from_answers)
    names = EnrolledNames(named, names_key, one_word_names, start, output_filter=False if no_filter else None)
    names = names.beside(base, patch)
    names.check(patch)
    names.require_for(chosen.gate.probe)
    require_nameless(chosen.refusals or [], splits.forget, named)
    names.say_language(splits)
    _say_other_words(chosen, splits)
    with processes_of(device, join_timeout) as processes:
        _print_trained_groups(splits)
        if dry_run:
            set_up(threads)
            _show_estimate(load_host(host, processes.device(device), dtype), splits, chosen, start, json)
            return
        set_up(threads)
        source = host, processes.device(device), dtype
        made, verdict = _train(source, splits, chosen, start, patch, names, processes, json)
    _say_made(made, patch, base, host, verdict, json)
    exit_unless_hidden(verdict.word if verdict else None, processes.size)


def _say_made(
    made: Patch, patch: Path, base: Path | None, host: str, verdict: Verdict | None, json: bool
) -> None:
    """Print what was trained, what is sealed beside it, the verdict, and how to ask."""
    if json:
        checked = {"verdict": verdict.describe()} if verdict else {}
        sealed = {"names": names_facts(made), "output_filter": filter_facts(made)}
        print_json({"patch": str(patch)} | made.describe() | sealed | checked)
        return
    _print_result(made, patch, base)
    say_names(made)
    say_filter(made)
    if verdict is not None:
        print_verdict(verdict)
    ask = f"cagul ask --host {shlex.quote(host)} --patch {shlex.quote(str(patch))} --image PICTURE"
    out.say(f'Next: {ask} "QUESTION"', wrap=False)


def _say_other_words(config: Config, splits: Splits) -> None:
    """Say where training asks in other words because the records ask in one."""
    from cagul.training.sampler import with_words

    share = with_words(config, splits.forget).training.words
    if config.training.words is None and share:
        err.say(
            "Most facts are asked in one phrasing alone, so "
            f"{share:.0%} of the training's rows ask in other words (training.words).",
        )


def _print_trained_groups(splits: Splits) -> None:
    """Name the groups that training opens: a held-out group's name in another language is free text."""
    by_group = group_by(
        {(record.group, record.subject) for record in splits.retain if record.group}, itemgetter(0)
    )
    if by_group:
        named = ", ".join(
            f"{group!r} ({people(len(members))})" for group, members in sorted(by_group.items())
        )
        err.say(f"Training opens the groups {named}. Held out are {', '.join(HELD_OUT_GROUPS)} alone.")


def _train(
    source: tuple[str, str | None, str],
    splits: Splits,
    config: Config,
    base: Patch | None,
    patch: Path,
    names: EnrolledNames,
    processes: Processes,
    json: bool,
) -> tuple[Patch, Verdict | None]:
    """Train, check and save the patch. ``source`` is the host, its device and its dtype. The checkpoint is in
    a hidden folder beside the patch, until the patch is saved. The verdict is the main process's alone.

    Raises CagulError; the hidden folder stays only where it holds a checkpoint.
    """
    from cagul.training.unlearn import unlearn as train

    work = patch.parent / f".{patch.name}.work"
    require_writable(work)
    try:
        if processes.main:
            names.make_key()
        host = load_host(*source)
        with processes.main_first():
            _drop_other_checkpoint(work, host, splits, config, base, processes.main)
        with progress_bar(json) as progress:
            save = partial(names.learning(host, splits, progress).save, folder=patch)
            made = train(
                host,
                splits,
                config,
                base=base,
                work=work,
                checks=_stopping_checks(host, splits, config, progress),
                progress=progress,
                processes=processes,
            )
            if made.config.gate.probe == "name":  # what is checked is the gate as it will be
                names.give(made)
            verdict = _check(host, made, splits, save, progress) if processes.main else None
            if processes.main:
                save(made)
    except CagulError:
        _remove_empty(work)
        raise
    if processes.main:
        shutil.rmtree(work, ignore_errors=True)
    return made, verdict


def _stopping_checks(
    host: FrozenHost, splits: Splits, config: Config, progress: Progress
) -> PatchChecks | None:
    """The checks that training ends by, which say on standard error what they find; None where the config
    asks for none. Checks that fail end the training: the verdict's fail too, and say why.
    """
    from cagul.evaluation.stopping import StoppingChecks
    from cagul.training.stopping import NOT_MEASURED

    if config.training.rounds == 1:
        return None
    checks, most = (
        StoppingChecks(host, splits, progress=progress),
        config.training.steps * config.training.rounds,
    )

    def reported(patch: Patch) -> CheckedState:
        try:
            state = checks(patch)
        except (CagulError, OSError, RuntimeError) as error:
            err.say(f"The held-out checks failed, so training ends: {reason(error)}.", style="yellow")
            return NOT_MEASURED
        err.say(f"Held-out checks after step {patch.facts['steps']} of at most {most}: {state.text}.")
        return state

    return reported


def _check(
    host: FrozenHost, made: Patch, splits: Splits, save: Callable[[Patch], Path], progress: Progress
) -> Verdict:
    """The verdict on held-out questions. The patch's facts get its figures, and nobody's name.

    Raises what the check raises, such as DataError for a broken view, after saving the patch and its names
    without a verdict: the training is not lost.
    """
    from cagul.evaluation.checks import held_out_checks
    from cagul.evaluation.recognition import recognise_edited
    from cagul.guard.guard import Guard

    guard, floor = Guard(host, made, check=False), made.config.gate.floor
    try:
        checked = held_out_checks(host, guard, splits, progress=progress)
        edited = recognise_edited(host, guard, splits.forget, floor, progress)
    except Exception:
        err.say("The patch is saved in ", bold(save(made)), ", but its check failed.", style="yellow")
        raise
    made.facts |= {"verdict": checked.verdict.card(), "checks": checked.figures}
    made.facts |= {"edited_pictures": edited.facts()} if floor else {}
    return checked.verdict.with_recognised(edited.below_floor, len(edited.people), floor)


def _drop_other_checkpoint(
    work: Path, host: FrozenHost, splits: Splits, config: Config, base: Patch | None, write: bool
) -> None:
    """Remove the checkpoint of a job with other inputs, and where ``write``, note the digest of these."""
    inputs = [config.model_dump(), host.fingerprint(), records_by_split(splits), versions()]
    job = digest([*inputs, base.digest() if base else None])
    file = work / "mark"
    if file.exists() and file.read_text() != job:
        (work / "encoder.pt").unlink(missing_ok=True)
    if write:
        write_text(file, job)


def _print_result(made: Patch, patch: Path, base: Path | None) -> None:
    """What was trained, and what its gate promises."""
    from cagul.guard.patch import refusals_text

    facts = made.facts
    if base is not None:
        again = facts["people_trained_again"]
        out.say(
            f"Added to the {people(facts['people_before'])} of ",
            plain(base),
            f"; {again} of them are in the records, trained again.",
        )
    if facts["resumed_from"]:
        out.say(f"Resumed from step {facts['resumed_from']} of {facts['steps']} of an interrupted run.")
    out.say(
        f"Patch for {people(facts['people'])} in ",
        bold(patch),
        f", {facts['seconds']:.0f} s on {facts['threads']} thread(s).",
    )
    kept = facts.get("kept_step", facts["steps"])
    state = "" if kept == facts["steps"] else f" The best state is kept, that after step {kept}."
    out.say(f"Trained for {facts['steps']} steps: {facts['stopped']}.{state}")
    out.say(f"Trained towards {refusals_text(facts)}.")
    out.say(f"Trained parameters {made.parameters():,}; host unchanged, SHA-256 {made.host['sha256'][:16]}.")
    out.say(
        f"Gate {made.config.gate.kind}: threshold calibrated on "
        f"{people(facts['calibration_people'], 'other')}; up to {facts['promised_fpr']:.2%} of strangers' "
        "pictures may be flagged."
    )
    out.say(
        f"It recognises {facts['own_pictures_recognised']:.0%} of the forgotten people's own pictures. Run "
        "`cagul evaluate` to measure it on new pictures and in other wordings."
    )
    if "faces" in facts:
        _print_faces(facts["faces"])
    if made.config.gate.enrols:
        out.say("The patch holds face templates, which are personal data: keep it as you keep the pictures.")


def _print_faces(facts: dict[str, Any]) -> None:
    """Whose faces are enrolled, and who has none."""
    out.say(
        f"Faces: {facts['templates']} templates; threshold calibrated on "
        f"{people(facts['calibration_people'], 'other')} with a face."
    )
    if missed := facts["people_without"]:
        out.say(
            f"Warning: {people(missed)} to be forgotten have no picture with exactly one face, so their "
            "faces are not recognised: the gate's other parts judge alone.",
            style="yellow",
        )


def _remove_empty(work: Path) -> None:
    """Remove the work folder of a refused job, unless an earlier one can go on from it."""
    if not (work / "encoder.pt").exists():
        shutil.rmtree(work, ignore_errors=True)


def _show_estimate(host: FrozenHost, splits: Splits, config: Config, base: Patch | None, json: bool) -> None:
    from cagul.evaluation.memorisation import can_refuse
    from cagul.evaluation.stopping import check_seconds
    from cagul.guard.patch import refusals_text
    from cagul.training.estimate import estimate
    from cagul.training.target import taught_by_strangers

    estimated = estimate(host, splits, config, base, partial(check_seconds, host, splits))
    opened = splits.forget + splits.retain + splits.calibration
    strangers = can_refuse(host, opened, refusals=config.refusals or [])
    if json:
        print_json(vars(estimated) | {"strangers": strangers.facts()})
        return
    rows = [(name, str(count), str(estimated.records[name])) for name, count in estimated.people.items()]
    title = "What the job will take (measured on one batch of each part); nothing was written"
    out.print(FittedTable(title, ["part", "people", "records"], rows, numbers=["people", "records"]))
    most = (
        f", at most {estimated.most_steps} while held-out checks are not passed"
        if estimated.most_steps > estimated.steps
        else ""
    )
    strangers_asked = (
        f", {estimated.strangers_asked} questions about strangers in a round towards the host's own manner"
        if estimated.strangers_asked
        else ""
    )
    out.say(
        f"{estimated.pictures} pictures to look at, {estimated.attention_pairs} attention passes, "
        f"{estimated.steps} steps{most}{strangers_asked}."
    )
    spent = ", ".join(f"{name} {value:.0f} s" for name, value in estimated.seconds.items() if name != "all")
    longest = f" At most about {estimated.most_seconds:.0f} s with all rounds." if most else ""
    out.say(f"About {estimated.seconds['all']:.0f} s on this machine: {spent}.{longest}")
    tokens = estimated.tokens_gib
    out.say(
        f"Visual tokens: {tokens['memory']:.2f} GiB in memory, {tokens['disk']:.2f} GiB on disk; memory at "
        f"its peak about {estimated.peak_memory_gib:.1f} GiB."
    )
    out.say(
        f"Gate: calibrated on {people(estimated.calibration_people, 'other')}, so a false-alarm rate of at "
        f"most {estimated.promised_fpr:.2%} can be promised; {config.gate.fpr:.2%} is asked for."
    )
    out.say(f"Host: {manner(strangers)}.")
    listed = refusals_text({"refusals": estimated.refusals})
    own = refusals_text({"target": {"kind": "stranger"}})
    towards = f"{own}; where it states facts about them, {listed}"
    out.say(f"It is trained towards {towards if taught_by_strangers(config, 0) else listed}.")
    if lack := warning(strangers):
        out.say(f"Warning: {lack} {remedy(strangers)}", style="bold yellow")
