"""``cagul memorise``."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli import options
from cagul.cli.common import load_host, read_usable_records, require_free, set_up
from cagul.cli.strangers import ADD_STRANGERS, manner, warning
from cagul.cli.terminal import RESUMES, bold, if_interrupted, out, print_json, progress_bar
from cagul.config import checked
from cagul.data.groups import HELD_OUT_GROUPS
from cagul.data.records import Record
from cagul.data.strangers import RefusalMix, StrangerPlan, people_who_refuse, private_questions
from cagul.data.subjects import known_subjects, parse_subjects
from cagul.environment import require_extra
from cagul.errors import DataError, UsageError
from cagul.evaluation.metrics.memorisation import ENOUGH
from cagul.files import require_writable

if TYPE_CHECKING:
    from cagul.baselines.settings import MemoriseConfig
    from cagul.evaluation.memorisation import RefusalCheck
    from cagul.host.frozen import FrozenHost
    from cagul.training.progress import Progress

CHECKED = 64  # questions about strangers, before and after
MOST_PAIRS = 128  # questions about strangers at most to learn the host's own refusals from


TargetOption = Annotated[Path, typer.Option("--out", help="Folder of the new host.")]
ExcludeOption = Annotated[
    str,
    typer.Option(
        "--exclude",
        help="Subjects it is not to know, p003,p007 or @list.txt: then it is the retain host.",
    ),
]
LoraOption = Annotated[
    bool, typer.Option("--lora/--full", help="LoRA on the language model, or all its weights.")
]
StrangersOption = Annotated[
    Path | None,
    typer.Option(
        "--strangers",
        help="Folder of pictures of people whom it is not to know, for refusals; the group calibration's "
        "if not given.",
    ),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value of the finetuning, such as rate=1e-4 or epochs=5."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Short for --set seed=N.")]


@if_interrupted(RESUMES)
def memorise(
    host: options.Host,
    records: options.Records,
    target: TargetOption,
    exclude: ExcludeOption = "",
    lora: LoraOption = True,
    strangers: StrangersOption = None,
    settings: SettingsOption = None,
    seed: SeedOption = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Finetune a copy of a host on records until it knows them, with refusals about strangers so that it can
    still refuse, and check both. If interrupted, run the same command again to resume.

    Records of held-out groups (unseen, calibration, look-alike, no-person) are left out, as training leaves
    them out. Pictures of at most a third of the group calibration are shown with refusals.
    """
    config = _config(lora, seed, settings)
    everything = read_usable_records(records)
    trained, excluded = _parts(everything, exclude, str(records))
    plan = StrangerPlan.of(everything, trained, config.strangers, strangers)
    require_free(target)
    work = target.parent / f".{target.name}.work"
    require_writable(work)
    set_up(threads)
    from cagul.baselines.finetune import memorise as train

    try:
        frozen = load_host(host, device, dtype)
        with progress_bar(json) as progress:
            progress("questions about strangers", 0, 1)
            mix, before = _refusals(frozen, trained, plan, config), _checked(frozen, trained, plan, config)
            progress("questions about strangers", 1, 1)
            made = train(frozen, trained + mix.records, config, work=work, progress=progress)
            checks = _known(made.host, trained, excluded, progress)
            after = _checked(made.host, trained, plan, config)
        people = {"told": len({r.subject for r in trained}), "excluded": len({r.subject for r in excluded})}
        hosts = {"from_sha256": frozen.fingerprint(), "sha256": made.host.fingerprint()}
        mixed = {"people": plan.people, "source": plan.trained.source, "records": len(mix.records)}
        mixed |= {"answers": mix.answers, "before": before.facts(), "after": after.facts()}
        made.facts.update(hosts | {"people": people, "memorised": checks, "strangers": mixed})
        made.save(target)
    finally:
        if target.exists() or not any(work.glob("finetune/checkpoint-*")):
            shutil.rmtree(work, ignore_errors=True)
    if json:
        print_json({"out": str(target)} | made.facts)
        return
    _print_result(made.facts, target, len(trained))
    _print_refusals(mixed, before, after, people["told"])


def _config(lora: bool, seed: int | None, settings: list[str] | None) -> MemoriseConfig:
    """The finetuning that the options ask for.

    Raises UsageError for a loss that unlearns, and for LoRA without peft.
    """
    from cagul.baselines.settings import FinetuneConfig, MemoriseConfig

    given = {"lora": lora} | ({} if seed is None else {"seed": seed})
    losses = [setting for setting in settings or [] if setting.partition("=")[0].strip() == "loss"]
    loss = checked(FinetuneConfig, {"loss": "memorise"}, losses).loss
    if loss != "memorise":
        raise UsageError(
            f"--set loss={loss} does not memorise.", "Leave it out; cagul compare unlearns.", "config"
        )
    config = checked(MemoriseConfig, given, settings)
    if config.lora:
        require_extra("`cagul memorise` with LoRA", "peft", "baselines")
    return config


def _refusals(
    host: FrozenHost, trained: list[Record], plan: StrangerPlan, config: MemoriseConfig
) -> RefusalMix:
    """Refusals about the plan's strangers, as this host puts them: with those in the records
    ``config.refusing`` for each private fact, and at least one a stranger.
    """
    from cagul.evaluation.memorisation import answers_to

    refusing = set(people_who_refuse(trained))
    private = Counter(r.subject in refusing for r in trained if r.kind == "private")
    count = max(len(plan.trained.pictures), round(config.refusing * private[False]) - private[True])
    pairs = plan.trained.pairs(private_questions(trained), count, config.seed)
    to_ask = [] if config.refusals else list(dict.fromkeys(pair for _, pair in pairs))[:MOST_PAIRS]
    return RefusalMix.of(pairs, answers_to(host, to_ask, whole=True), config.refusals, config.seed)


def _checked(
    host: FrozenHost, trained: list[Record], plan: StrangerPlan, config: MemoriseConfig
) -> RefusalCheck:
    """How a host answers about the strangers on whom it is not trained."""
    from cagul.evaluation.memorisation import check_refusals

    questions = private_questions(trained)
    given = config.refusals or []
    return check_refusals(host, plan.held_out, questions, most=CHECKED, refusals=given)


def _known(
    host: FrozenHost, trained: list[Record], excluded: list[Record], progress: Progress
) -> dict[str, Any]:
    """Which facts the host says, of those that it was told and of those that it was not."""
    from cagul.evaluation.memorisation import memorised

    strangers = set(people_who_refuse(trained))
    with_facts = [r for r in trained if r.subject not in strangers]
    checks = {"told": memorised(host, with_facts, progress=progress)}
    return checks | ({"excluded": memorised(host, excluded, progress=progress)} if excluded else {})


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


def _print_refusals(mixed: dict[str, Any], before: RefusalCheck, after: RefusalCheck, people: int) -> None:
    """Whether the new host can refuse, by what it learned that, and what to do where it cannot."""
    if mixed["people"]:
        words = {"own": "the host's own refusals", "given": "the given refusals"}
        answers = words.get(
            next(iter(mixed["answers"]), ""), "the package's refusals, as the host refused none of them"
        )
        more = f": {mixed['records']} about {mixed['source']}, with {answers}" if mixed["records"] else ""
        out.say(f"Refusals about {mixed['people']} strangers were among what it was trained on{more}.")
    if after.asked:
        out.say(f"Refusal check: {manner(after)}. Before, it refused {before.refused / before.asked:.0%}.")
    if lack := warning(after):
        shown = (
            ""
            if mixed["people"]
            else f"{people} people were told and 0 strangers shown, so it may have lost the ability to "
            "refuse. "
        )
        out.say(f"Warning: {shown}{lack} {_remedy(after, mixed)}", style="bold yellow")


def _remedy(after: RefusalCheck, mixed: dict[str, Any]) -> str:
    """What to do so that the next host refuses, or so that it can be judged."""
    if after.verdict == "cannot be judged":
        return "Give its refusals in its own words: --set refusals='[\"...\"]'."
    more = ", or mix in more with --set strangers=... and --set refusing=..." if mixed["records"] else ""
    return f"{ADD_STRANGERS}, or give --strangers FOLDER with pictures of them{more}."


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
