"""One Chromium for all page tests, with nothing of its own to send, and the pages that it opens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from cagul.report.html import write_report
from made_runs import RIVALS, make_run, make_study

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def context(tmp_path_factory):
    """A browser that has never been used. A missing one fails here."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=CHROMIUM, args=ARGUMENTS, offline=True
        )
        yield context
        context.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Pages by what they show: many methods, redacted; host and guard, revealed; the host alone with people
    who are not forgotten; a study.
    """
    folder = tmp_path_factory.mktemp("runs")
    runs = {
        "many": (make_run(folder / "a", folder / "pictures", methods=("cagul", *RIVALS)), {}),
        "revealed": (make_run(folder / "b", folder / "pictures"), {"reveal": True}),
        "host": (make_run(folder / "c", folder / "pictures", methods=()), {"reveal_others": True}),
    }
    runs["study"] = (make_study(folder / "d"), {})
    return {
        name: write_report(run, folder / f"{name}.html", **options)[0]
        for name, (run, options) in runs.items()
    }


class Opened:
    """A page, and what it did that it must not."""

    def __init__(self, page, path):
        self.page, self.console, self.requests = page, [], []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())


@pytest.fixture
def visit(context):
    """Opens a page at a width and in a scheme."""
    opened = []

    def open_page(path: Path, width: int = 1280, scheme: str = "light") -> Opened:
        page = context.new_page()
        opened.append(page)
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        return Opened(page, path)

    yield open_page
    for page in opened:
        page.close()
