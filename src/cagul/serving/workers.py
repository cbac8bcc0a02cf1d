"""Listen, serve in one process or several, and start dead workers again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cagul.errors import CagulError, HostError, UsageError, reason
from cagul.files import read_secret
from cagul.serving.logs import log_config, where
from cagul.serving.options import METRICS_FOLDER

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Config

ANSWERED_SECONDS = 20  # a worker that does not answer its parent for so long is started again
OPEN_SECONDS = 30  # how long open connections may go on after the server was told to stop


def _in_worker(make: Callable[[], FastAPI]) -> FastAPI:
    """``make()``, whose engine ends the worker when it fails. A CagulError ends the worker for good, in words
    and without a traceback.
    """
    from uvicorn.config import STARTUP_FAILURE

    try:
        app = make()
        # the parent starts the worker again
        app.state.engine.on_failure = lambda: os.kill(os.getpid(), signal.SIGTERM)
        return app
    except CagulError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(STARTUP_FAILURE)


def listen_on(address: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet. Raises UsageError when address or port cannot be had."""
    bound = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        # with its protocol named, or asyncio leaves 40 ms of Nagle's delay in
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
    except (OSError, OverflowError, UnicodeError) as error:
        if bound is not None:
            bound.close()
        raise UsageError(
            f"Cannot listen on {address} port {port}: {reason(error)}.",
            "Give another --port or --address.",
            "serve",
        ) from None
    bound.set_inheritable(True)
    return bound


def serve(make: Callable[[], FastAPI], bound: socket.socket, workers: int) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Several workers are processes of their own; one that dies
    is started again. ``make`` gives an app with its engine as ``app.state.engine``.

    Raises HostError when a worker could not start (the reason is on standard error), or when the engine of
    the only one failed; UsageError for several workers under a uvicorn without what they need.
    """
    from uvicorn import Config, Server

    folder = tempfile.mkdtemp(prefix="cagul-metrics-")  # mode 0700
    os.environ[METRICS_FOLDER] = folder
    try:
        common = {
            "factory": True,
            "log_config": log_config(),
            "access_log": False,
            "server_header": False,
            "proxy_headers": False,
            "timeout_graceful_shutdown": OPEN_SECONDS,
            "timeout_worker_healthcheck": ANSWERED_SECONDS,
        }
        if workers == 1:
            app = make()
            server = Server(Config(lambda: app, **common))  # type: ignore[arg-type]
            app.state.engine.on_failure = lambda: setattr(server, "should_exit", True)
            server.run(sockets=[bound])
            if app.state.engine.failure is not None:
                raise HostError(
                    f"The engine failed: {where(app.state.engine.failure)}.",
                    "Start the server again; a process supervisor should do so. The log holds the request.",
                    "serve",
                )
            return
        if not _several(Config(partial(_in_worker, make), workers=workers, **common), bound):  # type: ignore[arg-type]
            raise HostError(
                "A worker could not start; its error is above.", "Fix that, or try --workers 1.", "serve"
            )
    finally:
        os.environ.pop(METRICS_FOLDER, None)
        shutil.rmtree(folder, ignore_errors=True)


def _several(config: Config, bound: socket.socket) -> bool:
    """Serve in several processes; False when one of them could not start. It leans on the inside of uvicorn's
    supervisor.
    """
    from uvicorn import __version__
    from uvicorn import config as settings
    from uvicorn.supervisors import multiprocess

    one = multiprocess.Process(config, [bound])  # never started
    for owner, name in (
        (settings, "STARTUP_FAILURE"),
        (multiprocess.Multiprocess, "keep_subprocess_alive"),
        (one, "child_conn"),
        (one, "exitcode"),
    ):
        if not hasattr(owner, name):
            where = "config" if owner is settings else "Process" if owner is one else "Multiprocess"
            raise UsageError(
                f"uvicorn {__version__} has no {where}.{name}, on which several workers lean.",
                "Install one that has it (0.50 to 0.54 do), or take --workers 1.",
                "serve",
            )

    class Supervisor(multiprocess.Multiprocess):
        def keep_subprocess_alive(self) -> None:
            for process in self.processes:
                # with both ends open here, nobody would hear that the worker's one is gone
                process.child_conn.close()
            super().keep_subprocess_alive()

    supervisor = Supervisor(config, sockets=[bound])
    supervisor.run()
    return not any(process.exitcode == settings.STARTUP_FAILURE for process in supervisor.processes)


def read_keys(file: Path | None, value: str | None) -> list[str]:
    """API keys: the lines of a file, or the one of an environment variable. Raises UsageError for a file
    without any, or that others can read.
    """
    if file is None:
        return [value.strip()] if value else []
    try:
        keys = [line.strip() for line in read_secret(file).decode("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"Cannot read the API keys {file}: {reason(error)}.",
            "Write one key a line.",
            "serve",
        ) from None
    if not keys:
        raise UsageError(f"{file} holds no API key.", "Write one key a line.", "serve")
    return keys
