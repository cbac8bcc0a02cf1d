"""What several verbs share: options, threads, loading."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cagul.cli.terminal import err, out, print_json, progress_bar

if TYPE_CHECKING:
    from cagul.data.records import Splits
    from cagul.demo.assets import Demo
    from cagul.host.frozen import FrozenHost
    from cagul.training.distributed import Processes

RunOption = Annotated[
    Path, typer.Option("--out", help="Run folder; an unfinished run with the same inputs goes on.")
]
HostOption = Annotated[str, typer.Option("--host", help="Checkpoint folder or hub name of the frozen VLM.")]
DemoHostOption = Annotated[
    str | None, typer.Option("--host", help="Checkpoint folder or hub name; the demo's if not given.")
]
RecordsOption = Annotated[Path, typer.Option("--records", help="Records file (JSON Lines).")]
DemoRecordsOption = Annotated[
    Path | None, typer.Option("--records", help="Records file; the demo's if not given.")
]
DemoForgetOption = Annotated[
    str | None, typer.Option("--forget", help="Subjects: p003,p007 or @list.txt; the demo's if not given.")
]
UnseenOption = Annotated[str, typer.Option("--unseen", help="Subjects that training has not seen.")]
RetainHostOption = Annotated[
    str | None,
    typer.Option("--retain-host", help="A host trained without the forget set; forget quality needs it."),
]
FullOption = Annotated[bool, typer.Option("--full", help="Ask every question instead of a named sample.")]
PatchOption = Annotated[
    Path | None, typer.Option("--patch", help="Patch folder; without one the bare host answers.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="Torch threads; 0 takes the cores that are idle now.")
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto (as saved), float32, bfloat16 or float16.")]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", help="Device of the host, such as cuda, or auto to spread it; the CPU if not given."
    ),
]

DTYPES = ("auto", "float32", "bfloat16", "float16")
SUBJECT_OPTIONS = ("--forget", "--unseen", "--exclude")

__all__ = ["err", "out", "print_json", "progress_bar"]  # for verbs that do not name cli.terminal yet


RESUMES = "What was done is kept. Run the same command again to resume."
NOTHING_WRITTEN = "Nothing was written."
INTERRUPTED: dict[Callable[..., None], str] = {}  # what the user of a verb reads after Ctrl-C


def if_interrupted(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a verb with what holds after Ctrl-C, and how to continue."""

    def mark(verb: Callable[..., None]) -> Callable[..., None]:
        INTERRUPTED[verb] = text
        return verb

    return mark


def repeating_command() -> str:
    """The command line that this process was started with; subjects named in it are left out."""
    words = ["cagul", *sys.argv[1:]]
    for n, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in SUBJECT_OPTIONS and equals and not value.startswith("@"):
            words[n] = f"{option}=@SUBJECTS"
        elif n and words[n - 1] in SUBJECT_OPTIONS and not word.startswith("@"):
            words[n] = "@SUBJECTS"
    return shlex.join(words).replace("'@SUBJECTS'", "@SUBJECTS")


def require_free(target: Path) -> None:
    """Raises UsageError when there is something where a new folder is to be, WriteError when nobody may
    look.
    """
    from cagul.errors import UsageError
    from cagul.files import os_errors_as_write_errors

    with os_errors_as_write_errors(target):
        taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if taken:
        raise UsageError(f"{target} is already there.", "Give another --out, or remove it.", "usage")


def splits_or_demo(
    host: str | None, records: Path | None, forget: str | None, unseen: str
) -> tuple[Splits, Demo | None]:
    """The splits that the options name, or the demo's with where its parts are.

    Raises UsageError when some of the three are given and some not, DataError as the records do.
    """
    from cagul.data.records import load_records, parse_subjects, split_records
    from cagul.demo.assets import demo_assets
    from cagul.errors import UsageError

    if host is None and records is None and forget is None:
        demo = demo_assets()
        return split_records(load_records(demo.records), list(demo.forget), parse_subjects(unseen)), demo
    if host is None or records is None or forget is None:
        raise UsageError(
            "--host, --records and --forget go together.", "Give all three, or none of them for the demo's."
        )
    return split_records(load_records(records), parse_subjects(forget), parse_subjects(unseen)), None


@contextmanager
def processes_of(device: str | None) -> Iterator[Processes]:
    """The processes of this job; all but the main one are quiet. They part at the end of the block."""
    from cagul.errors import CagulError
    from cagul.training.distributed import Processes, is_lost_connection

    if "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ:
        err.print(
            "[yellow]accelerate launch has started one process alone, whatever number it was given; for "
            "several: "
            "python -m torch.distributed.run --nproc_per_node N -m cagul ...[/]"
        )
    processes = Processes.start(device)
    out.quiet = not processes.main
    try:
        with processes:
            yield processes
    except RuntimeError as error:
        if processes.size == 1 or not is_lost_connection(error):
            raise
        raise CagulError(
            "Another process of this job has stopped, so this one does too.",
            "What that one said is the reason.",
            "processes",
        ) from error


def require_store(store: Path | None, key: Path | None) -> None:
    """Raises UsageError for a --key without a --store: nobody's request would be honoured. The variable may
    stand alone.
    """
    from cagul.errors import UsageError

    if store is None and key is not None and str(key) != os.environ.get("CAGUL_STORE_KEY"):
        raise UsageError(
            "--key came without --store, so no request would be honoured.", "Give the store too.", "store"
        )


def set_up(threads: int) -> None:
    """Set the thread count on purpose: threads that wait for a busy core can be a hundred times slower than
    one.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    torch.set_num_threads(threads or idle_cores())


def idle_cores() -> int:
    """How many of this process's cores are idle now, at least one."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(
        1,
        round(cores * (1 - psutil.cpu_percent(interval=0.3) / 100))
        // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )


def load_host(source: str, device: str | None, dtype: str = "auto") -> FrozenHost:
    """Load a host.

    Raises UsageError for a dtype that is none of DTYPES, HostError when the host does not load.
    """
    from cagul.errors import UsageError, did_you_mean
    from cagul.guard.selfcheck import load_host as load

    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype!r} is not known.", did_you_mean(dtype, DTYPES))
    return load(source, device=device, dtype=dtype)


def load_hosts(
    host: str | None, other: str | None, demo: Demo | None, device: str | None, dtype: str
) -> tuple[FrozenHost, FrozenHost | None]:
    """The host and the one beside it, the demo's where they are not given; without a demo the other one may
    be none.

    Raises as ``load_host`` does.
    """
    if demo is not None:
        host, other = host or str(demo.host), other or str(demo.retain_host)
    return load_host(host or "", device, dtype), load_host(other, device, dtype) if other else None


def everybody(splits: Splits) -> list[dict[str, Any]]:
    """All records of all splits, as a run's digest wants them."""
    return [r.model_dump(mode="json") for split in vars(splits).values() for r in split]
