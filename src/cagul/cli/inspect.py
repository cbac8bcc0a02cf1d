"""``cagul inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cagul.cli import options
from cagul.cli.names import filter_facts, names_facts, names_note
from cagul.cli.terminal import FactsTable, out, print_json

if TYPE_CHECKING:
    from cagul.guard.patch import Patch


def inspect(
    patch: Annotated[Path, typer.Argument(help="Patch folder.")],
    names_key: options.NamesKey = None,
    json: options.Json = False,
) -> None:
    """Show what a patch is made of: host, gate, tokens, options. It never shows who is forgotten."""
    from cagul.guard.patch import Patch, refusals_text

    loaded = Patch.load(patch, names_key)
    facts = loaded.describe()
    if json:
        print_json(facts | {"names": names_facts(loaded), "output_filter": filter_facts(loaded)})
        return
    config = loaded.config
    layers = ", ".join(map(str, sorted(loaded.layers)))
    rate = loaded.facts.get("promised_fpr", float("nan"))
    personal = (
        "yes: enrolment vectors are face templates" if facts["personal_data"] else "no enrolment vectors"
    )
    shown = [
        ("verdict", loaded.verdict()),
        ("format", facts["format"]),
        ("host", f"{loaded.host['model_type']}, width {loaded.host['width']}"),
        ("host SHA-256", loaded.host["sha256"]),
        ("gate", f"{config.gate.kind}, threshold {loaded.threshold:.4f}"),
        *_faces(loaded),
        ("promised false alarms", f"{rate:.2%} of unknown people's pictures"),
        ("tokens", f"{config.selection.choose} {config.selection.k}, attention of layers {layers}"),
        ("trained parameters", f"{loaded.parameters():,}"),
        ("people", loaded.facts.get("people", "")),
        ("trained towards", refusals_text(loaded.facts)),
        ("steps", f"{loaded.facts.get('steps', '')} ({loaded.facts.get('stopped', '')})"),
        ("personal data", personal),
        ("gate for names", names_note(loaded)),
        ("output filter", loaded.values_note),
    ]
    out.print(FactsTable(str(patch), [(name, str(value)) for name, value in shown]))


def _faces(patch: Patch) -> list[tuple[str, str]]:
    """The face part of the gate: how many templates, and whose recogniser; none for a patch without it."""
    faces = patch.faces
    if faces is None:
        return []
    return [
        ("faces", f"{len(faces.templates)} templates by {faces.recogniser}, threshold {faces.threshold:.4f}")
    ]
