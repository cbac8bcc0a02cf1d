"""Write the table of docs/attack.md from the figures that are kept in docs/attack.json.

``python docs/make_attack.py`` writes it. ``python docs/make_attack.py --take RUN`` first keeps the figures of
a run folder of ``cagul attack``.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from cagul.evaluation.metrics.attacks import CASES, HEADINGS
from cagul.evaluation.metrics.figures import format_figure
from cagul.files import write_text

PAGE, KEPT = Path(__file__).with_name("attack.md"), Path(__file__).with_name("attack.json")
COMMAND = (
    "cagul attack --patch runs/demo/patch --names-key runs/demo/patch.names.key --quick --out runs/attack"
)
BLOCK = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


def taken(summary: dict[str, Any], command: str) -> dict[str, Any]:
    """What is kept of a summary: who was asked how much, and the shares that are told."""
    return {
        "command": command,
        "attack": summary["attack"],
        "attacks": {name: _leaks(one) for name, one in summary["attacks"].items()},
        "worst_case": {CASES[name]: _leaks(one) for name, one in summary["worst_case"].items()},
    }


def _leaks(one: dict[str, Any]) -> dict[str, Any]:
    if "absent" in one:
        return {"absent": one["absent"]}
    columns = {
        name: {"leak": figures["leak"], "queries": figures["queries"]}
        for name, figures in one["columns"].items()
    }
    return {"columns": columns, **({"excess": one["excess"]} if "excess" in one else {})}


def table(kept: dict[str, Any]) -> str:
    """The table in Markdown, with the command that gave it."""
    columns = kept["attack"]["columns"]
    rows = [["attack", "queries", *(HEADINGS[column] for column in columns), "guard's excess"]]
    rows.append(["---"] * len(rows[0]))
    for name, one in {**kept["attacks"], **kept["worst_case"]}.items():
        if "absent" in one:
            continue
        cells = [_cell(one["columns"][column]["leak"]) for column in columns]
        queries = f"{one['columns'][columns[0]]['queries']:g}"
        rows.append([name, queries, *cells, _cell(one.get("excess"))])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{lines}\n\n`{kept['command']}`\n"


def _cell(figure: dict[str, Any] | None) -> str:
    return format_figure(figure, digits=2, absent="")


def page(text: str, kept: dict[str, Any]) -> str:
    """The page with the table of these figures."""
    return BLOCK.sub(lambda _: table(kept), text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--take", type=Path, metavar="RUN", help="keep the figures of this run first")
    parser.add_argument("--command", default=COMMAND)
    options = parser.parse_args()
    if options.take is not None:
        summary = json.loads((options.take / "summary.json").read_text("utf-8"))
        write_text(KEPT, json.dumps(taken(summary, options.command), indent=1) + "\n")
    write_text(PAGE, page(PAGE.read_text("utf-8"), json.loads(KEPT.read_text("utf-8"))))


if __name__ == "__main__":
    main()
