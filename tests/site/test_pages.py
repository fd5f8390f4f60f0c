"""The built documentation in a browser: `make docs-test`. Without the site or a browser these tests are skipped."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"width": 390, "height": 844}

if not (SITE / "index.html").exists():
    pytest.skip("the site is not built: make docs", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api")
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    handler = functools.partial(Silent, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with playwright.sync_playwright() as started:
        try:
            running = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser starts: {str(error).splitlines()[0]}")
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A tab of the width of a desk's screen. Nothing is asked of other hosts: their requests fail at once."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.route(lambda url: not url.startswith(address), lambda route: route.abort())
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def visited(browser: Any, address: str) -> dict[str, dict[str, Any]]:
    """Of each page its errors, its links, its places, its pictures that do not show, and its width on a phone."""
    found: dict[str, dict[str, Any]] = {}
    tab = browser.new_page(viewport=PHONE)
    errors: list[str] = []

    def refuse(route: Any) -> None:
        errors.append(f"asks {route.request.url}")
        route.abort()

    tab.route(lambda url: not url.startswith(address), refuse)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("response", lambda reply: errors.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
    for name in PAGES:
        errors.clear()
        tab.goto(address + name, wait_until="load")
        found[name] = tab.evaluate(
            """() => ({
                links: [...document.querySelectorAll("a[href]")].map(a => a.getAttribute("href")),
                places: [...document.querySelectorAll("[id], a[name]")].map(e => e.id || e.name),
                missing: [...document.images]
                    .filter(i => i.complete && !i.naturalWidth && i.loading !== "lazy").map(i => i.src),
                width: document.documentElement.scrollWidth,
                title: document.title,
            })"""
        ) | {"errors": list(errors)}
    tab.close()
    return found


def test_every_page_loads_without_errors(visited: dict[str, dict[str, Any]]) -> None:
    assert len(visited) > 100
    assert {name: page["errors"] for name, page in visited.items() if page["errors"]} == {}
    assert all(page["title"] for page in visited.values())


def test_no_picture_is_missing(visited: dict[str, dict[str, Any]]) -> None:
    assert {name: page["missing"] for name, page in visited.items() if page["missing"]} == {}


def test_no_link_is_broken(visited: dict[str, dict[str, Any]]) -> None:
    broken = []
    for name, page in visited.items():
        for link in page["links"]:
            target, place = urldefrag(urljoin(name, link))
            if "://" in target or target.startswith(("mailto:", "javascript:")):
                continue
            target = unquote(target) or name
            if not (SITE / target).exists() or (place and target in visited and place not in visited[target]["places"]):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_every_page_is_as_wide_as_a_phone(visited: dict[str, dict[str, Any]]) -> None:
    assert {name: page["width"] for name, page in visited.items() if page["width"] > PHONE["width"]} == {}


@pytest.mark.parametrize(("word", "target"), [("BPClassifier", "nets.BPClassifier"), ("damping", "convergence")])
def test_search_finds(word: str, target: str, page: Any, address: str) -> None:
    page.goto(f"{address}search.html?q={word}")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    finished = "() => /found \\d+|Search finished|pages? matching/.test(document.body.innerText)"
    page.wait_for_function(finished, timeout=20_000)
    links = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.getAttribute('href'))")
    assert any(target in link for link in links), links


def test_the_gallery_shows_all_examples_and_their_pictures(page: Any, address: str) -> None:
    page.goto(f"{address}gallery/index.html")
    cards = page.eval_on_selector_all(
        ".sphx-glr-thumbcontainer img", "pictures => pictures.map(picture => picture.naturalWidth)"
    )
    assert len(cards) == len(list((SITE.parents[2] / "examples").glob("*.py")))
    assert all(width > 0 for width in cards)


def test_a_report_of_a_run_is_one_page_that_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    report = tmp_path / "run.html"
    words = ["train", "digits", "--hidden", "21", "--epochs", "2", "--report", str(report)]
    subprocess.run([sys.executable, "-m", "nets", *words], check=True, capture_output=True, cwd=tmp_path)
    tab, asked, errors = browser.new_page(viewport=PHONE), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(report.as_uri(), wait_until="load")
    assert errors == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    pictures = tab.evaluate("[...document.querySelectorAll('img, svg')].map(p => p.getBoundingClientRect().width)")
    assert len(pictures) >= 3
    assert min(pictures) > 100
    for word in ("Reliability", "confus", "hidden_layer_sizes", "nets train digits"):
        assert word.lower() in tab.inner_text("body").lower(), word
    tab.close()
