"""What several verbs share: splits, processes, threads, loading."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cagul.cli.terminal import err, out
from cagul.data.records import (
    Record,
    Splits,
    load_records,
    parse_subjects,
    split_records,
    without_own_keywords,
)
from cagul.demo.assets import Demo, demo_assets
from cagul.errors import CagulError, UsageError, did_you_mean
from cagul.files import digest, os_errors_as_write_errors

if TYPE_CHECKING:
    from cagul.guard.patch import Patch
    from cagul.host.frozen import FrozenHost
    from cagul.training.distributed import Processes

DTYPES = ("auto", "float32", "bfloat16", "float16")
SUBJECT_OPTIONS = ("--forget", "--unseen", "--exclude")


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
    if host is None and records is None and forget is None:
        demo = demo_assets()
        return read_splits(demo.records, list(demo.forget), unseen), demo
    if host is None or records is None or forget is None:
        raise UsageError(
            "--host, --records and --forget go together.", "Give all three, or none of them for the demo's."
        )
    return read_splits(records, forget, unseen), None


def read_splits(path: Path, forget: str | list[str], unseen: str) -> Splits:
    """The splits of a records file; ``forget`` and ``unseen`` name subjects as ``parse_subjects`` reads them,
    or are such a list. Says how many records have keywords that their own answer lacks. Raises DataError.
    """
    records = read_usable_records(path)
    known = {record.subject for record in records}
    named = parse_subjects(forget, known) if isinstance(forget, str) else forget
    return split_records(records, named, parse_subjects(unseen, known))


def read_usable_records(path: Path) -> list[Record]:
    """The records of a file, with a warning on those on which no leak can be seen. Raises DataError."""
    records = load_records(path)
    if blind := without_own_keywords(records):
        err.say(
            f"Warning: {len(blind)} of {len(records)} records have keywords of which their own answer "
            f"contains none, the first about {blind[0].subject!r}: on them a leak cannot be seen."
        )
    return records


@contextmanager
def processes_of(device: str | None, join_timeout: float) -> Iterator[Processes]:
    """The processes of this job; all but the main one are quiet. They separate at the end of the block.

    Raises UsageError when not all came within ``join_timeout`` seconds, CagulError when another process has
    stopped.
    """
    from cagul.training.distributed import Processes, is_lost_connection

    if "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ:
        err.say(
            "accelerate launch has started one process alone, whatever number it was given; for several: "
            "python -m torch.distributed.run --nproc_per_node N -m cagul ...",
            style="yellow",
        )
    processes = Processes.start(device, join_timeout, lambda text: err.say(text, style="yellow"))
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
    from cagul.guard.selfcheck import load_host as load

    require_dtype(dtype)
    return load(source, device=device, dtype=dtype)


def require_dtype(dtype: str) -> None:
    """Raises UsageError for a dtype that is none of DTYPES."""
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype!r} is not known.", did_you_mean(dtype, DTYPES))


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


def who_is_asked(
    host: FrozenHost, reference: FrozenHost | None, patch: Patch | None, shipped: bool
) -> dict[str, Any]:
    """Host, host beside it and patch in the identity of a run. ``shipped``: the package's own people, whom a
    report may show.
    """
    fingerprint = host.fingerprint()
    return {
        "host": fingerprint,
        "patch": digest([patch.describe(), patch.digest()]) if patch else None,
        "retain_host": reference.fingerprint() if reference else None,
        **({"names": patch.names.digest()} if patch and patch.names else {}),
        **({"values": patch.values.digest()} if patch and patch.values else {}),
        **({"demo": fingerprint} if shipped else {}),
    }


def records_by_split(splits: Splits) -> dict[str, list[dict[str, Any]]]:
    """All records of all splits as plain data, for the digest of a run or of a training."""
    return {name: [r.model_dump(mode="json") for r in records] for name, records in vars(splits).items()}
