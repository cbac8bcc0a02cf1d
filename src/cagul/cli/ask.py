"""``cagul ask``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cagul.cli.common import (
    DemoHostOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    PatchOption,
    ThreadsOption,
    load_host,
    out,
    print_json,
    set_up,
)
from cagul.cli.requests import OptionalKey, open_desk

if TYPE_CHECKING:
    from cagul.guard import Decision


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    host: DemoHostOption = None,
    patch: PatchOption = None,
    store: Annotated[Path | None, typer.Option("--store", help="Store of deletion requests, in place of --patch.")] = None,
    key: OptionalKey = None,
    image: Annotated[list[Path] | None, typer.Option("--image", help="A picture; more than one may be given, or none.")] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")] = 48,
    dtype: DtypeOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
    json: JsonOption = False,
) -> None:
    """Ask a host about a picture, through the guard where a patch is given."""
    from cagul.data.pictures import open_picture
    from cagul.errors import UsageError
    from cagul.patch import Patch

    if not question.strip():
        raise UsageError("The question is empty.", 'Write it in quotes: cagul ask --image a.png "Who is this?"')
    pictures = [open_picture(path) for path in image or []]
    if store and (patch or not key):
        raise UsageError("--store needs --key, and takes the place of --patch.", "Give --store and --key alone.")
    loaded = Patch.load(patch) if patch else None
    set_up(threads)
    from cagul.demo.assets import demo_assets
    from cagul.guard import Guard

    guard = None
    if store and key:
        guard = open_desk(store, key, host, None, dtype, device, threads).guard()
    frozen = guard.host if guard else load_host(host or str(demo_assets().host), device, dtype)
    if loaded is not None:
        guard = Guard(frozen, loaded)
    decisions: tuple[Decision, ...] = ()
    if guard is None:
        inputs = frozen.inputs([frozen.prompter.prompt(question, len(pictures))], pictures)
        output = frozen.generate(inputs, **frozen.generation_options(max_new_tokens))
        text = frozen.texts(inputs["input_ids"].shape[1], output)[0]
    else:
        answer = guard.answer(pictures, question, max_new_tokens=max_new_tokens)
        text, decisions = answer.text, answer.decisions
    if json:
        print_json({"answer": text, "decisions": [vars(decision) for decision in decisions]})
        return
    out.print(text, markup=False, highlight=False)
    for number, decision in enumerate(decisions, 1):
        which = f" picture {number}" if len(decisions) > 1 else ""
        verdict = f"fired, {len(decision.chosen)} tokens rewritten" if decision.fired else "silent"
        out.print(f"[dim]gate{which} {verdict}: score {decision.score:.3f}, threshold {decision.threshold:.3f}[/]")
