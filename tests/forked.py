"""``cagul`` in processes of their own that need not import torch and transformers: forks of one that has.

Run with a socket's path, this file is the process that is forked; with the path and a command line, it is
``cagul``: folder, environment and the three streams are the caller's, and the exit code is the command's. All
of cagul itself is imported anew in each.
"""

import json
import os
import socket
import sys
from contextlib import suppress

LIBRARIES = (
    "transformers.modeling_layers",
    "transformers.modeling_utils",
    "transformers.generation.utils",
    "accelerate",
    "peft",
    "scipy.stats",
)
LARGEST = 2**20  # bytes of a command line and an environment


def call(path: str, words: list[str]) -> int:
    """Have one command run. Returns its exit code."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
        asked.connect(path)
        given = json.dumps([words, os.getcwd(), dict(os.environ)])
        socket.send_fds(asked, [given.encode()], [0, 1, 2])
        return int(asked.recv(16) or 1)  # nothing where the fork was killed


def serve(path: str) -> None:
    """Fork for each call, one at a time or several, as long as the process lives that started this one."""
    import gc
    import importlib

    parent = os.getppid()
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(path)
        listening.listen()
        listening.settimeout(5)
        os.write(1, b"ready\n")
        while os.getppid() == parent:
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                listening.close()
                code = run(connection)
                connection.sendall(str(code).encode())
                os._exit(code)
            connection.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # those that have ended meanwhile
                    pass


def run(connection: socket.socket) -> int:
    """Be ``python -m cagul`` as it was called. Returns the exit code."""
    import runpy
    import traceback

    given, streams, _, _ = socket.recv_fds(connection, LARGEST, 3)
    words, folder, environment = json.loads(given)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # anew: a pipe cannot be sought where the earlier stream could
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0] = ["cagul", *words], folder
    code = 0
    try:
        runpy.run_module("cagul", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter ends with one
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(call(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
