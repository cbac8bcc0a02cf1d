"""``cagul hosts``."""

from __future__ import annotations

from operator import itemgetter

from cagul.cli import options
from cagul.cli.terminal import FittedTable, out, print_json
from cagul.data.grouping import group_by
from cagul.host.families import PROVEN, REFUSED


def hosts(json: options.Json = False) -> None:
    """List the families of hosts that are proven, and those that are refused with the reason."""
    if json:
        print_json({"proven": {name: family.title for name, family in PROVEN.items()}, "refused": REFUSED})
        return
    pictures = {
        "entry": "one entry of its image output",
        "run": "its tiles, in one run of placeholders",
        "global": "its tiles, up to the global one",
    }
    proven = [(name, family.title, pictures[family.pictures]) for name, family in PROVEN.items()]
    title = "Proven by the contract tests on tiny random hosts"
    out.print(FittedTable(title, ["model_type", "family", "one picture is"], proven, narrow="list"))
    by_reason = group_by(REFUSED.items(), itemgetter(1), itemgetter(0))
    refused = [(", ".join(names), reason) for reason, names in by_reason.items()]
    out.print(FittedTable("Refused by name", ["model_type", "reason"], refused, narrow="list"))
    out.say("Any other model_type has to pass the same contracts when it is loaded, or it is refused.")
