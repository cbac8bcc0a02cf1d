"""``cagul hosts``."""

from __future__ import annotations

from rich.table import Table

from cagul.cli.common import JsonOption, out, print_json


def hosts(json: JsonOption = False) -> None:
    """The families of hosts that are proven, and those that are refused with the reason."""
    from cagul.host.families import PROVEN, REFUSED

    if json:
        print_json({"proven": {name: family.title for name, family in PROVEN.items()}, "refused": REFUSED})
        return
    proven = Table(title="Proven by the contract tests on tiny random hosts", title_justify="left")
    for name in ("model_type", "family", "one picture is"):
        proven.add_column(name)
    pictures = {
        "entry": "one entry of its image output",
        "run": "its tiles, in one run of placeholders",
        "global": "its tiles, up to the global one",
    }
    for name, family in PROVEN.items():
        proven.add_row(name, family.title, pictures[family.pictures])
    refused = Table(title="Refused by name", title_justify="left")
    refused.add_column("model_type")
    refused.add_column("reason", overflow="fold")
    for name, reason in REFUSED.items():
        refused.add_row(name, reason)
    out.print(proven)
    out.print(refused)
    out.print(
        "Any other model_type is asked the same contracts when it is loaded, and refused where it breaks one."
    )
