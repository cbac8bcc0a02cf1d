"""``cagul serve``."""

from __future__ import annotations

import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cagul.cli import options
from cagul.cli.common import idle_cores, load_host, require_store, set_up
from cagul.cli.names import say_filter, say_names, say_store_names
from cagul.cli.requests import OptionalKey, extra
from cagul.cli.terminal import bold, if_interrupted, out, print_json

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cagul.serving.options import ServeOptions

LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEY_VARIABLE = "CAGUL_API_KEY"
MIB = 2**20


PatchOption = Annotated[
    Path | None, typer.Option("--patch", help="Patch folder; with --store the base patch, if it moved.")
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Store of deletion requests; changes hold at once.")
]
AddressOption = Annotated[str, typer.Option("--address", help="Address to listen on.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, max=64, help="Processes, each with host and guard.")
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the model; the host's folder if not given.")
]
ApiKeyFileOption = Annotated[
    Path | None, typer.Option("--api-key-file", help=f"API keys, one a line; or one in {KEY_VARIABLE}.")
]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Most answers that are generated together.")]
BatchWaitOption = Annotated[
    float, typer.Option("--batch-wait", min=0, help="Milliseconds to wait for more to batch.")
]
PadLatencyOption = Annotated[
    float,
    typer.Option(
        "--pad-latency", min=0, help="Answers leave at multiples of so many milliseconds; 0 at once."
    ),
]
MaxBodyOption = Annotated[float, typer.Option("--max-body", min=0.001, help="Largest body, in MiB.")]
MaxPixelsOption = Annotated[int, typer.Option("--max-pixels", min=1, help="Largest picture, in pixels.")]
MaxImagesOption = Annotated[int, typer.Option("--max-images", min=0, help="Most pictures of a request.")]
MaxTokensOption = Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")]
MaxChoicesOption = Annotated[
    int | None,
    typer.Option(
        "--max-choices",
        min=1,
        max=128,
        help="Largest n of a request; if not given 4, or --batch if less.",
    ),
]
MaxWaitingOption = Annotated[
    int, typer.Option("--max-waiting", min=1, help="Requests at work or waiting in a worker.")
]
MaxWaitingPixelsOption = Annotated[
    int, typer.Option("--max-waiting-pixels", min=1, help="Pixels of their pictures, together.")
]
MaxWaitingBodyOption = Annotated[
    float, typer.Option("--max-waiting-body", min=0.001, help="Their bodies, together, in MiB.")
]
CorsOriginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cors-origin",
        help=("Origin of web pages that may ask, such as https://app.example; again for more, '*' for all."),
    ),
]
LogTextOption = Annotated[
    bool, typer.Option("--log-text", help="Write questions and answers into the log, too.")
]


@if_interrupted("The server was not started.")
def serve(
    host: options.DemoHost = None,
    patch: PatchOption = None,
    store: StoreOption = None,
    key: OptionalKey = None,
    names_key: options.NamesKey = None,
    no_filter: options.NoFilter = False,
    address: AddressOption = "127.0.0.1",
    port: PortOption = 8000,
    workers: WorkersOption = 1,
    name: NameOption = None,
    api_key_file: ApiKeyFileOption = None,
    batch: BatchOption = 8,
    batch_wait: BatchWaitOption = 5.0,
    pad_latency: PadLatencyOption = 0.0,
    max_body: MaxBodyOption = 20.0,
    max_pixels: MaxPixelsOption = 16_000_000,
    max_images: MaxImagesOption = 8,
    max_tokens: MaxTokensOption = 512,
    max_choices: MaxChoicesOption = None,
    max_waiting: MaxWaitingOption = 64,
    max_waiting_pixels: MaxWaitingPixelsOption = 256_000_000,
    max_waiting_body: MaxWaitingBodyOption = 256.0,
    cors_origin: CorsOriginOption = None,
    log_text: LogTextOption = False,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    threads: options.Threads = 0,
    json: options.Json = False,
) -> None:
    """Serve a host behind its guard, as OpenAI-compatible chat completions. Never without a guard."""
    _require_extra()
    from cagul.serving.options import Limits, ServeOptions, digests, read_origins
    from cagul.serving.workers import listen_on, read_keys
    from cagul.serving.workers import serve as run

    host, patch = _places(host, patch, store, key, names_key, not no_filter)
    keys = digests(read_keys(api_key_file, os.environ.get(KEY_VARIABLE)))
    origins = read_origins(cors_origin or [])
    _require_api_key(address, keys, origins)
    limits = Limits(
        body=int(max_body * MIB),
        pixels=max_pixels,
        images=max_images,
        tokens=max_tokens,
        waiting=max_waiting,
        choices=max_choices or min(4, batch),
        waiting_pixels=max_waiting_pixels,
        waiting_body=int(max_waiting_body * MIB),
    )
    options = ServeOptions(
        host=host,
        patch=patch,
        store=store,
        store_key=key,
        names_key=names_key,
        output_filter=not no_filter,
        name=name or Path(host).name or "cagul",
        dtype=dtype,
        device=device,
        threads=threads or max(1, idle_cores() // workers),
        batch=batch,
        batch_wait=batch_wait,
        pad_latency=pad_latency,
        log_text=log_text,
        keys=keys,
        cors_origins=origins,
        limits=limits,
    )
    with listen_on(address, port) as bound:
        _print_address(address, bound.getsockname()[1], workers, options, json)
        run(partial(make_app, options), bound, workers)


def _require_extra() -> None:
    """Raises UsageError when a package is missing. Found, not imported: prometheus_client reads its folder of
    numbers when it is imported.
    """
    with extra("serve"):
        for module in ("fastapi", "uvicorn", "prometheus_client"):
            if find_spec(module) is None:
                raise ModuleNotFoundError(name=module)


def _places(
    host: str | None,
    patch: Path | None,
    store: Path | None,
    key: Path | None,
    names_key: Path | None,
    output_filter: bool,
) -> tuple[str, Path]:
    """Where host and patch are: as given, as the store recorded them, or the demo's host. The patch is read
    once, before any worker starts; whether its gate for names and its output filter are on is said.

    Raises UsageError without a patch or store, PatchError or StoreError where one cannot be read.
    """
    from cagul.demo.assets import demo_assets
    from cagul.errors import UsageError
    from cagul.guard.patch import Patch

    require_store(store, key)
    if store is not None and key is None:
        raise UsageError("--store needs --key.", "Give the key file of the store.", "serve")
    if store is not None and key is not None:
        with extra("requests"):
            from cagul.deletion.keys import StoreKey
            from cagul.deletion.store import Store
        with Store(store, StoreKey.load(key)) as opened:
            opened.require_facts()
            say_store_names(opened.names())
        places = opened.facts["places"]
        host, patch = host or places["host"], patch or Path(places["patch"])
    if patch is None:
        raise UsageError(
            "Neither --patch nor --store is given; the bare host is not served.", "Give one of them.", "serve"
        )
    loaded = Patch.load(patch, names_key)
    say_names(loaded)
    say_filter(loaded, output_filter)
    return host or str(demo_assets().host), patch


def _require_api_key(address: str, keys: tuple[bytes, ...], origins: tuple[str, ...]) -> None:
    """Raises UsageError where others, or every web page, can reach the server and no key keeps them out."""
    from cagul.errors import UsageError

    if address not in LOOPBACK and not keys:
        raise UsageError(
            f"{address} can be reached by others, and there is no API key.",
            f"Give --api-key-file or {KEY_VARIABLE}.",
            "serve",
        )
    if "*" in origins and not keys:
        raise UsageError(
            "--cors-origin '*' lets every web page ask that a user of this machine opens, and there is "
            "no API key.",
            f"Name the origins, or give --api-key-file or {KEY_VARIABLE}.",
            "serve",
        )


def _print_address(address: str, port: int, workers: int, options: ServeOptions, json: bool) -> None:
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}/v1"
    if json:
        print_json({"url": url, "model": options.name, "workers": workers, "api_key": bool(options.keys)})
        return
    count = f"{workers} worker{'s' if workers > 1 else ''}"
    out.say("Model ", bold(options.name), ": guarded server starting at ", bold(url), f" ({count}).")
    if not options.keys:
        out.say("No API key: any local user can send requests.")


def make_app(options: ServeOptions) -> FastAPI:
    """The app of one worker, with host and guard loaded."""
    set_up(options.threads)
    from cagul.guard.patch import Patch
    from cagul.serving.app import create_app
    from cagul.serving.guard_providers import PatchGuardProvider, StoreGuardProvider

    patch = Patch.load(options.patch, options.names_key)
    host = load_host(options.host, options.device, options.dtype)
    if options.store and options.store_key:
        store = options.store, options.store_key
        guards = StoreGuardProvider(host, *store, patch, output_filter=options.output_filter)
        return create_app(guards, options)
    return create_app(PatchGuardProvider(host, patch, options.output_filter), options)
