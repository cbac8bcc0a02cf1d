"""``cagul ask``."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cagul.cli import options
from cagul.cli.common import load_host, require_store, set_up
from cagul.cli.names import say_filter, say_names
from cagul.cli.requests import OptionalKey, service_at
from cagul.cli.terminal import dim, out, print_json
from cagul.config import Config
from cagul.data.pictures import open_picture
from cagul.demo.assets import demo_assets
from cagul.errors import UsageError
from cagul.files import require_writable_file, write_bytes
from cagul.report.overlay import draw_overlay

if TYPE_CHECKING:
    from PIL import Image

    from cagul.guard.decision import Answer, Decision
    from cagul.guard.patch import Patch
    from cagul.host.frozen import FrozenHost


FIRED_BY = {"name probe": " by the name that the host says", "face": " by a face"}


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    host: options.DemoHost = None,
    patch: options.Patch = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Store of deletion requests, in place of --patch.")
    ] = None,
    key: OptionalKey = None,
    names_key: options.NamesKey = None,
    no_filter: options.NoFilter = False,
    image: Annotated[
        list[Path] | None, typer.Option("--image", help="A picture; more than one may be given, or none.")
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--overlay", help="Draw what the question looks at, and what was rewritten, on the picture."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")
    ] = 48,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Ask a host about a picture, through the guard where a patch is given."""
    from cagul.guard.patch import Patch

    pictures = _open_pictures(question, image or [], overlay, patch, store, key)
    loaded = Patch.load(patch, names_key) if patch else None
    set_up(threads)
    from cagul.evaluation.ask import answer_batch
    from cagul.guard.decision import Answer
    from cagul.guard.guard import Guard

    guard = None
    if store and key:
        load_patch = partial(Patch.load, names_key=names_key)
        with service_at(store, key, host, None, dtype, device, threads, load_patch) as service:
            say_filter(service.store_gate.base, not no_filter)
            guard = service.guard(output_filter=not no_filter)
    frozen = guard.host if guard else load_host(host or str(demo_assets().host), device, dtype)
    if loaded is not None:
        say_names(loaded)
        say_filter(loaded, not no_filter)
        guard = Guard(frozen, loaded, output_filter=not no_filter)
    if guard is None:
        answer = Answer(answer_batch(frozen, [(pictures, question)], max_new_tokens).texts[0], ())
    else:
        answer = guard.answer(pictures, question, max_new_tokens=max_new_tokens)
    if overlay:
        _overlay(overlay, frozen, guard.patch if guard else None, pictures[0], question, answer.decisions)
    if json:
        print_json(_as_json(answer, overlay))
        return
    _print_answer(answer, guard is not None)
    if overlay:
        out.say(dim(f"overlay: {overlay}"))


def _as_json(answer: Answer, overlay: Path | None) -> dict[str, object]:
    return {
        "answer": answer.text,
        "decisions": [vars(decision) for decision in answer.decisions],
        **({"names": answer.names} if answer.names else {}),
        **({"withheld": True} if answer.withheld else {}),
        **({"overlay": str(overlay)} if overlay else {}),
    }


def _print_answer(answer: Answer, guarded: bool) -> None:
    """The answer, and below it one line for each picture about what the gate decided, one about names and one
    about the output filter.
    """
    decisions = answer.decisions
    out.print(answer.text, soft_wrap=True)
    for number, decision in enumerate(decisions, 1):
        which = f" picture {number}" if len(decisions) > 1 else ""
        by = FIRED_BY.get(decision.fired_by, "")
        verdict = f"fired{by}, {len(decision.chosen)} tokens rewritten" if decision.fired else "silent"
        out.say(dim(f"gate{which} {verdict}: score {decision.score:.3f}, threshold {decision.threshold:.3f}"))
    if answer.names:
        found = f"{answer.names} in the question, answered as if about a stranger"
        out.say(dim(f"gate for names fired: {found}"))
    if answer.withheld:
        out.say(dim("output filter fired: the first answer would have said a value of a forgotten person"))
    if not guarded:
        out.say(dim("no --patch and no --store: the bare host's answer"))


def _open_pictures(
    question: str,
    image: list[Path],
    overlay: Path | None,
    patch: Path | None,
    store: Path | None,
    key: Path | None,
) -> list[Image.Image]:
    """The pictures of the question.

    Raises UsageError for an empty question and for options that exclude each other, DataError for a picture
    that does not open, WriteError when the overlay cannot be written.
    """
    if not question.strip():
        raise UsageError(
            "The question is empty.", 'Write it in quotes: cagul ask --image a.png "Who is this?"'
        )
    pictures = [open_picture(path) for path in image]
    if overlay:
        _require_place(overlay, image)
    require_store(store, key)
    if store and (patch or not key):
        raise UsageError(
            "--store needs --key, and takes the place of --patch.", "Give --store and --key alone."
        )
    return pictures


def _require_place(overlay: Path, image: list[Path]) -> None:
    """Raises UsageError unless there is one picture and ``overlay`` is another file, WriteError when it
    cannot be written.
    """
    if len(image) != 1:
        raise UsageError(f"--overlay draws on one picture, and {len(image)} came.", "Give one --image.")
    require_writable_file(overlay)
    if overlay.exists() and overlay.samefile(image[0]):
        raise UsageError(
            f"--overlay {overlay} is the picture itself, which would be lost.", "Give another file."
        )
    if overlay.suffix.lower() != ".png":
        raise UsageError(f"--overlay {overlay} does not end in .png, which it will be.", "Name it so.")


def _overlay(
    path: Path,
    host: FrozenHost,
    patch: Patch | None,
    picture: Image.Image,
    question: str,
    decisions: tuple[Decision, ...],
) -> None:
    """Write the picture with the question's importance, read as the patch or the default config reads it."""
    from cagul.guard.token_edit import importance_of
    from cagul.host.token_grid import grid_of
    from cagul.method.importance import resolve_layers

    config = patch.config if patch else Config()
    inputs = host.inputs([host.prompter.prompt(question, 1)], [picture])
    tokens = host.encode_images(inputs)
    layers = patch.layers if patch else resolve_layers(config.attention.layers, host.layers)
    importance = importance_of(host, config.attention.kind, layers, host.prefill(inputs, tokens))[0].tolist()
    grid = grid_of(host, inputs, len(tokens[0]), picture.size)
    shown = range(grid.first, grid.first + grid.rows * grid.columns)
    chosen = [n - grid.first for decision in decisions for n in decision.chosen if n in shown]
    drawn = draw_overlay(
        picture, importance[shown.start : shown.stop], grid.rows, grid.columns, grid.box, chosen
    )
    buffer = BytesIO()
    drawn.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
