"""Options that several verbs share: ``from cagul.cli import options``, then ``host: options.Host``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Run = Annotated[
    Path, typer.Option("--out", help="Run folder; an unfinished run with the same inputs goes on.")
]
Host = Annotated[str, typer.Option("--host", help="Checkpoint folder or hub name of the frozen VLM.")]
DemoHost = Annotated[
    str | None, typer.Option("--host", help="Checkpoint folder or hub name; the demo's if not given.")
]
Records = Annotated[Path, typer.Option("--records", help="Records file (JSON Lines).")]
DemoRecords = Annotated[Path | None, typer.Option("--records", help="Records file; the demo's if not given.")]
DemoForget = Annotated[
    str | None, typer.Option("--forget", help="Subjects: p003,p007 or @list.txt; the demo's if not given.")
]
Unseen = Annotated[str, typer.Option("--unseen", help="Subjects that training has not seen.")]
RetainHost = Annotated[
    str | None,
    typer.Option(
        "--retain-host",
        help="A host trained without the forget set, which never knew it; forget quality needs it.",
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Ask every question instead of a named sample.")]
Edits = Annotated[
    Literal["all", "third", "none"],
    typer.Option(
        "--edits", help="all, third or none: edits of the grid under which pictures are asked about too."
    ),
]
Patch = Annotated[
    Path | None, typer.Option("--patch", help="Patch folder; without one the host answers unguarded.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Torch threads; 0 takes the cores that are idle now.")
]
Dtype = Annotated[str, typer.Option("--dtype", help="auto (as saved), float32, bfloat16 or float16.")]
JoinTimeout = Annotated[
    float,
    typer.Option(
        "--join-timeout",
        min=1,
        help="Seconds to wait for the other processes of a job that was started as several.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", help="Device of the host, such as cuda, or auto to spread it; the CPU if not given."
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--name",
        help="A name or alias of somebody to be forgotten, such as 'Ada Moss', or @FILE; again for more.",
    ),
]
NamesFromAnswers = Annotated[
    bool,
    typer.Option("--names-from-answers", help="Take names from the answers that say who somebody is, too."),
]
OneWordNames = Annotated[
    bool, typer.Option("--one-word-names", help="Take names of one word, which others may have.")
]
NoFilter = Annotated[
    bool,
    typer.Option(
        "--no-filter", help="Do not withhold answers that would say an enrolled value of a forgotten person."
    ),
]
NamesKey = Annotated[
    Path | None,
    typer.Option("--names-key", help="Key file of the names; CAGUL_NAMES_KEY or your own if not given."),
]
