"""One JSON object a line on standard error: what happened, never what was asked, shown or answered."""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from typing import Any

LOGGER = logging.getLogger("cagul.serving")


class JsonLines(logging.Formatter):
    """``logger.info("event", extra={"fields": {...}})`` as one JSON object; an exception by its kind and
    place alone.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "worker": os.getpid(),
        }
        line["event"] = record.getMessage()
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = where(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def where(error: BaseException) -> str:
    """Kind and place of an error. Its text may hold what was asked, so it is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    last = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{last}"


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(1000 * (seconds % 1)):03d}Z"


def log_config() -> dict[str, Any]:
    """For uvicorn: its loggers and ours write JSON lines; it writes no access log, ours holds no
    addresses.
    """
    handler = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    loggers = {
        name: {"handlers": ["stderr"], "level": "INFO", "propagate": False}
        for name in ("uvicorn", "cagul.serving")
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": handler},
        "loggers": loggers,
    }
