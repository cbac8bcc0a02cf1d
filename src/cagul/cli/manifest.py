"""``cagul manifest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cagul.cli import options
from cagul.cli.common import load_host, set_up
from cagul.cli.terminal import bold, out, print_json
from cagul.files import require_writable_file


def manifest(
    host: options.Host,
    target: Annotated[Path, typer.Option("--out", help="The file to write; an older one is replaced.")],
    device: options.Device = None,
    dtype: options.Dtype = "auto",
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Write a host's manifest: what proves that a part of it, loaded elsewhere, is of this host.

    The whole host is loaded once. The file holds SHA-256 of each tensor and of the settings, and no weight.
    """
    from cagul.host.front import Manifest

    require_writable_file(target)
    set_up(threads)
    loaded = load_host(host, device, dtype)
    made = Manifest.of(loaded)
    made.save(target)
    if json:
        print_json({"manifest": str(target), "sha256": made.sha256, "tensors": len(made.tensors)})
        return
    out.say(
        f"The manifest of {len(made.tensors)} tensors and {len(made.files)} files is in ", bold(target), "."
    )
