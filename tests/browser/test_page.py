"""The report as Chromium shows it: five widths, light and dark, keyboard, axe, print, and the gold page."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageStat

PAPER = 718  # pixels between the margins of A4
WIDTHS, SCHEMES, NAMES = (360, 500, 768, 1000, 1280), ("light", "dark"), ("many", "revealed", "host", "study")
GOLD = Path(__file__).parents[1] / "golden" / "report.html"
SCRUBBED = (  # what differs from machine to machine and from day to day
    (r"<style>.*?</style>", "<style></style>"),
    (r"data:image/(\w+);base64,[\w+/=]+", r"data:image/\1"),
    (r"\b[0-9a-f]{64}\b", "HASH"),
    (r"\d{4}-\d{2}-\d{2}", "DATE"),
    (r"(?<=\(s\)</dt><dd>)[\d.,]+", "SECONDS"),
    (r"(?<=</dt><dd>)\d+\.\d+\.\d+\S*(?=</dd>)", "VERSION"),
)
UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
OVERFLOWS = """() => [...document.querySelectorAll('body *')]
    .filter(one => !one.closest('.wide, svg') && one.getClientRects().length
        && one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.outerHTML.slice(0, 120))"""
OUT_OF_CARDS = """() => [...document.querySelectorAll('.card')].flatMap(card => {
    const edge = card.getBoundingClientRect(), found = [];
    const words = document.createTreeWalker(card, NodeFilter.SHOW_TEXT);
    while (words.nextNode()) {
        const range = document.createRange();
        range.selectNodeContents(words.currentNode);
        if (!words.currentNode.parentElement.closest('.wide, svg')
            && [...range.getClientRects()].some(
                box => box.left < edge.left - 1 || box.right > edge.right + 1))
            found.push(words.currentNode.textContent.trim());
    }
    return found;
})"""
UNLOADED = "() => [...document.images].filter(one => !(one.complete && one.naturalWidth)).length"
TEXTS = """() => [...document.querySelectorAll('svg.chart')].map(svg => {
    const edge = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')];
    return [svg.querySelector('title').textContent, edge.width, texts.map(text => {
        const box = text.getBoundingClientRect();
        const size = parseFloat(getComputedStyle(text).fontSize) * edge.width / svg.viewBox.baseVal.width;
        return {said: text.textContent, size,
            left: box.left, top: box.top, right: box.right, bottom: box.bottom,
            inside: box.left >= edge.left - 1 && box.right <= edge.right + 1
                && box.top >= edge.top - 1 && box.bottom <= edge.bottom + 1};
    })];
})"""
REACHABLE = """() => [...document.querySelectorAll('summary, [tabindex="0"], a[href]')]
    .filter(one => one.checkVisibility({contentVisibilityAuto: true})).length"""
FOCUSED = """() => {
    const one = document.activeElement, style = getComputedStyle(one);
    const name = one.getAttribute('aria-label') || one.textContent.trim().slice(0, 60);
    return [one.tagName, name, style.outlineStyle];
}"""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_the_page_fits_and_is_quiet(pages, visit, tmp_path, name, width, scheme):
    opened = visit(pages[name], width, scheme)
    page = opened.page
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(
        io.BytesIO(page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True))
    ) as shot:
        assert shot.width == width
        lightness = ImageStat.Stat(shot.convert("L")).mean[0]
    assert lightness > 200 if scheme == "light" else lightness < 90
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOWS) == []
    assert page.evaluate(OUT_OF_CARDS) == []
    assert page.evaluate("document.images.length") > 0 or name in ("many", "study")
    assert page.evaluate(UNLOADED) == 0
    assert opened.console == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [pages[name].as_uri()]


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_serious(pages, visit, name, width, scheme):
    page = visit(pages[name], width, scheme).page
    page.evaluate(UNFOLD)
    result = Axe().run(page).response
    assert result["testEngine"]["name"] == "axe-core"
    grave = [
        f"{found['id']} ({found['impact']}): {[node['html'][:160] for node in found['nodes'][:3]]}"
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
    ]
    assert grave == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["many", "revealed"])
def test_words_of_charts_are_whole_large_enough_and_apart(pages, visit, name, width):
    charts = visit(pages[name], width).page.evaluate(TEXTS)
    assert len(charts) >= 4
    for title, _, texts in charts:
        assert texts, title
        for n, text in enumerate(texts):
            assert text["inside"], (title, text)
            assert text["size"] >= 9.5, (title, text)
            for other in texts[:n]:
                apart = (
                    text["left"] >= other["right"] - 1
                    or other["left"] >= text["right"] - 1
                    or text["top"] >= other["bottom"] - 2
                    or other["top"] >= text["bottom"] - 2
                )
                assert apart, (title, text["said"], other["said"])


def test_everything_that_opens_or_scrolls_is_reached_by_keyboard(pages, visit):
    page = visit(pages["many"], 360).page
    wanted = page.evaluate(REACHABLE)
    assert wanted > 20
    for reached in range(wanted):
        page.keyboard.press("Tab")
        tag, words, outline = page.evaluate(FOCUSED)
        assert tag in ("SUMMARY", "DIV", "A"), (reached, tag)
        assert words
        assert outline != "none", words
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)[0] == "BODY"  # nothing more, and no trap
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


@pytest.mark.parametrize("name", NAMES)
def test_it_prints(pages, visit, tmp_path, name):
    page = visit(pages[name], PAPER, "dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
    colours = page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    printed = page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 30


def test_the_gold_page(pages):
    """`GOLD=write make test-browser` writes it again: look at the difference before you keep it."""
    text = pages["many"].read_text("utf-8")
    for pattern, kept in SCRUBBED:
        text = re.sub(pattern, kept, text, flags=re.DOTALL)
    if os.environ.get("GOLD") == "write":
        GOLD.write_text(text, "utf-8")
    assert text == GOLD.read_text("utf-8")
