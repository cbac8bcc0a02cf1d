"""docs/serving.md as it stands, and `cagul serve` on the command line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from contextlib import suppress
from functools import partial
from importlib.metadata import version

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

from typer.testing import CliRunner

from cagul.cli import serve as command
from cagul.cli.app import app
from cagul.deletion.service import make_store
from cagul.errors import HostError, PatchError, StoreError, UsageError
from cagul.guard.patch import Patch
from cagul.serving.api import UNSUPPORTED, ChatRequest
from cagul.serving.logs import where
from cagul.serving.options import ServeOptions
from cagul.serving.workers import _in_worker, listen_on, serve
from deletion_fixtures import pictures_of
from documents import ROOT, stage

PAGE = (ROOT / "docs" / "serving.md").read_text()
KEY = "k" * 24


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def parts() -> list[tuple[str, str]]:
    """The page's blocks of commands and code, in order, servers put behind and on free ports."""
    page = PAGE
    for port in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", page))):
        page = page.replace(port, str(free_port()))
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [
        (
            kind,
            re.sub(r"^(cagul serve .*)$", r"\1 >> log 2>&1 & echo $! >> servers", text, flags=re.MULTILINE),
        )
        for kind, text in found
    ]


def test_the_page_has_something_to_run():
    found = parts()
    assert [kind for kind, _ in found].count("python") == 1
    assert sum(text.count("& echo $! >> servers") for _, text in found) == 2
    assert sum(text.count("curl ") for _, text in found) >= 6


def test_the_page_names_every_parameter():
    assert len(ChatRequest.model_fields) > 10
    for name in ChatRequest.model_fields:
        assert f"`{name}`" in PAGE or name in ("model", "stream_options"), name
    assert {"logprobs", "top_logprobs", "logit_bias", "prediction"} <= {
        name for name in UNSUPPORTED if f"`{name}`" in PAGE
    }


@pytest.mark.slow
def test_every_command_of_the_page_runs(tiny_folder, base_folder, records, tmp_path):
    staged = stage(tmp_path / "serving", tiny_folder)
    folder = staged.folder
    shutil.copytree(base_folder, folder / "base-patch")
    (folder / "keys").mkdir()
    (folder / "ada").mkdir()
    for number, path in enumerate(pictures_of(records, "p3"), 1):
        (folder / "ada" / f"{number}.png").write_bytes(path.read_bytes())
    from cagul.host.frozen import FrozenHost

    places = {"host": str(folder / "path" / "to" / "llava"), "patch": str(folder / "base-patch")}
    make_store(
        folder / "requests.db",
        folder / "keys" / "requests.key",
        FrozenHost.load(tiny_folder),
        Patch.load(base_folder),
        records,
        places,
    )
    shown = []
    try:
        for kind, text in parts():
            if kind == "python":
                (folder / "page.py").write_text(text)
            # the tiny host still tells
            text = re.sub("(?m)^(cagul requests add .*)$", r"\1 || test $? = 8", text)
            shown.append(staged.run("python page.py" if kind == "python" else f"set -e\n{text}", timeout=120))
    finally:
        for line in (folder / "servers").read_text().split():
            with suppress(ProcessLookupError):  # one that ended already: the log says why
                os.kill(int(line), signal.SIGTERM)
        log = (folder / "log").read_text()
    told = "".join(shown)
    assert '"status":"ready"' in told
    assert '"owned_by":"cagul"' in told
    assert told.count('"object":"chat.completion",') == 2
    assert "data: [DONE]" in told
    assert "cagul_pictures_total 2.0" in told
    assert "CompletionUsage(" in shown[3]
    assert "Request r-2:" in told
    assert "Traceback" not in log
    assert "Where does this person live" not in log


def refused(*words: object) -> Exception | None:
    return CliRunner().invoke(app, ["serve", *map(str, words)], standalone_mode=False).exception


def test_mistakes_on_the_command_line(tiny_folder, base_folder, tmp_path, monkeypatch):
    monkeypatch.delenv(command.KEY_VARIABLE, raising=False)
    known = ("--host", tiny_folder, "--patch", base_folder, "--port", 0)
    keys = tmp_path / "keys"

    def says(kind: type[Exception], text: str, *words: object) -> None:
        error = refused(*words)
        assert isinstance(error, kind), error
        assert text in str(error)

    says(
        UsageError, "Neither --patch nor --store is given; the bare host is not served", "--host", tiny_folder
    )
    says(UsageError, "--store needs --key", "--store", tmp_path / "s.db")
    says(PatchError, "There is no patch folder", "--patch", tmp_path / "none")
    says(
        UsageError,
        "0.0.0.0 can be reached by others, and there is no API key",
        *known,
        "--address",
        "0.0.0.0",
    )
    says(UsageError, f"Cannot read the API keys {keys}: No such file", *known, "--api-key-file", keys)
    keys.touch(0o600)
    says(UsageError, "'nowhere' is no origin", *known, "--cors-origin", "nowhere")
    says(UsageError, "lets every web page ask", *known, "--cors-origin", "*")
    keys.write_text("\n")
    says(UsageError, "holds no API key", *known, "--api-key-file", keys)
    keys.write_text("short\n")
    says(UsageError, "API key 1 of 1 has 5 characters", *known, "--api-key-file", keys)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        says(
            UsageError,
            f"Cannot listen on 127.0.0.1 port {port}: Address already in use",
            *known[:4],
            "--port",
            port,
        )
    says(UsageError, "9 choices of a request do not fit into a batch of 8.", *known, "--max-choices", 9)
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text("00" * 32)
    says(StoreError, "There is no store", "--store", tmp_path / "s.db", "--key", tmp_path / "key")
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    says(UsageError, "`cagul serve` needs fastapi", *known)


def test_what_is_started_is_what_was_asked_for(tiny_folder, base_folder, monkeypatch):
    started = []
    monkeypatch.setattr(
        "cagul.serving.workers.serve",
        lambda make, bound, workers: started.append((make, bound.getsockname()[1], workers)),
    )
    monkeypatch.setenv(command.KEY_VARIABLE, KEY)
    words = (
        "--host",
        tiny_folder,
        "--patch",
        base_folder,
        "--port",
        0,
        "--workers",
        3,
        "--max-body",
        1,
        "--pad-latency",
        50,
        "--batch",
        2,
        "--max-waiting-body",
        0.5,
        "--json",
    )
    shown = CliRunner().invoke(app, ["serve", *map(str, words)], standalone_mode=False)
    assert shown.exception is None
    make, port, workers = started[0]
    options = make.args[0]
    assert (workers, options.limits.body, options.pad_latency, options.name) == (3, 2**20, 50, "host")
    assert (options.batch, options.limits.choices, options.limits.waiting_body) == (2, 2, 2**19)
    assert len(options.keys) == 1
    assert f'"url": "http://127.0.0.1:{port}/v1"' in shown.stdout
    assert KEY not in shown.stdout + repr(options)
    served = make().state.served
    assert served.rules.limits.body == 2**20
    served.engine.stop()


def test_a_uvicorn_without_what_workers_lean_on_is_refused(monkeypatch):
    """Before any worker starts: with one end of a pipe left open, a worker that is gone would be missed in
    silence.
    """
    from uvicorn import config
    from uvicorn.supervisors import multiprocess

    def told() -> str:
        with listen_on("127.0.0.1", 0) as bound, pytest.raises(UsageError) as found:
            serve(broken_app, bound, 2)
        return str(found.value)

    class Other(multiprocess.Process):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            del self.child_conn

    monkeypatch.setattr(multiprocess.Process, "start", lambda self: pytest.fail("a worker starts"))
    with monkeypatch.context() as patched:
        patched.setattr(multiprocess, "Process", Other)
        says = told()
    assert f"uvicorn {version('uvicorn')} has no Process.child_conn, on which several workers lean." in says
    assert "Install one that has it (0.50 to 0.54 do), or take --workers 1." in says
    with monkeypatch.context() as patched:
        patched.delattr(multiprocess.Multiprocess, "keep_subprocess_alive")
        assert "has no Multiprocess.keep_subprocess_alive, on which" in told()
    with monkeypatch.context() as patched:
        patched.delattr(config, "STARTUP_FAILURE")
        assert "has no config.STARTUP_FAILURE, on which" in told()


def broken_app():
    raise HostError("There is no host of that kind.", "Give another.", "host")


def test_a_worker_that_cannot_start_says_why(capfd):
    with pytest.raises(SystemExit) as end:
        _in_worker(broken_app)
    assert end.value.code == 3
    assert "HostError: There is no host of that kind." in capfd.readouterr().err
    with listen_on("127.0.0.1", 0) as bound, pytest.raises(HostError, match="There is no host of that kind"):
        serve(broken_app, bound, 1)


@pytest.mark.slow
def test_the_server_ends_when_a_worker_cannot_start(base_folder, tmp_path, capfd, monkeypatch):
    # it is seen to be gone, not waited for
    monkeypatch.setattr("cagul.serving.workers.ANSWERED_SECONDS", 3600)
    make = partial(command.make_app, ServeOptions(host=str(tmp_path / "none"), patch=base_folder))
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        failed = pytest.raises(HostError, match="A worker could not start; its error is above")
        with listen_on("127.0.0.1", 0) as bound, failed:
            serve(make, bound, 2)
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
    error = capfd.readouterr().err
    assert "HostError: There is no folder" in error
    assert "Traceback" not in error


def test_answers_are_not_held_back_by_the_network():
    bound = listen_on("127.0.0.1", 0)
    bound.close()
    assert bound.proto == socket.IPPROTO_TCP  # what asyncio asks for before it switches Nagle's algorithm off


def test_an_error_in_the_log_is_its_kind_and_place():
    with pytest.raises(UsageError, match="Cannot listen on no.address.invalid port 1") as found:
        listen_on("no.address.invalid", 1)
    assert where(found.value).startswith("UsageError at workers.py:")
