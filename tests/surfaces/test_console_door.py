"""The console's files as a browser is given them: bound, kept as long as they may be, and small."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from tests.consoles import ASSETS
from tests.serving import serving
from yarl import URL

MOST = 200 * 1024
"""Bytes of everything, compressed (source: issue 8.6)."""


@pytest.mark.requirement("server_console:headers")
async def test_every_answer_of_the_console_bounds_what_a_page_can_do() -> None:
    async with serving() as served:
        for path in ("/console/", "/console/sessions/s", "/console/files/none.js", f"/console/{script()}"):
            async with served.client.get(path) as answer:
                policy = answer.headers["content-security-policy"]
                told = dict(each.split(" ", 1) for each in policy.split("; "))
                assert told["default-src"] == told["frame-ancestors"] == told["base-uri"] == "'none'"
                assert told["script-src"] == told["style-src"] == told["connect-src"] == "'self'"
                assert "unsafe" not in policy and "*" not in policy
                assert told["require-trusted-types-for"] == "'script'"
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["x-frame-options"] == "DENY"
                assert answer.headers["referrer-policy"] == "no-referrer"
    page = (ASSETS / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)


def script() -> str:
    return next(ASSETS.rglob("*.js")).relative_to(ASSETS).as_posix()


@pytest.mark.requirement("server_console:caching")
async def test_files_named_by_their_content_are_kept_for_ever_and_the_page_is_asked_for_each_time() -> None:
    async with serving() as served:
        async with served.client.get(f"/console/{script()}", headers={"accept-encoding": "gzip"}) as answer:
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["content-encoding"] == "gzip" and answer.headers["vary"] == "accept-encoding"
            assert answer.headers["content-type"].startswith("text/javascript")
            assert await answer.read() == (ASSETS / script()).read_bytes()
        async with served.client.get(f"/console/{script()}", headers={"accept-encoding": "gzip;q=0"}) as answer:
            assert "content-encoding" not in answer.headers
        async with served.client.get("/console/") as answer:
            assert answer.headers["cache-control"] == "no-cache"
            tag = answer.headers["etag"]
        async with served.client.get("/console/sessions/a", headers={"if-none-match": f'"x", W/{tag}'}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
        async with served.client.head("/console/") as answer:
            assert answer.status == 200 and int(answer.headers["content-length"]) > 0 and await answer.read() == b""


@pytest.mark.requirement("server_console:paths")
async def test_each_path_of_the_console_is_its_page_and_what_is_not_there_is_not_there() -> None:
    async with serving() as served:
        page = (ASSETS / "index.html").read_bytes()
        for path in ("/console/", "/console/new", "/console/sessions/a.b", "/console/sessions/s-1:x"):
            async with served.client.get(path) as answer:
                assert (answer.status, await answer.read()) == (200, page), path
        up = ("/console/sessions/%2e%2e%2f%2e%2e%2fpages.py", "/console/%2e%2e/pages.py", "/console//index.html")
        for path in (
            *up,
            "/console/files/x.js",
            "/console/pages.py",
            "/console/x",
            "/consoles",
            "/console.js",
            "/console/new/x",
        ):
            async with served.client.get(URL(path, encoded=True)) as answer:
                assert answer.status == 404 and answer.content_type == "application/problem+json", path
        async with served.client.post("/console/") as answer:
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        async with served.client.get("/console", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["location"]) == (307, "/console/")
        html = {"accept": "text/html,*/*;q=0.8"}
        async with served.client.get("/", headers=html, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["location"]) == (307, "/console/")
        async with served.client.get("/", headers={"accept": "application/json"}) as answer:
            assert answer.status == 404 and answer.content_type == "application/problem+json"


@pytest.mark.requirement("server_console:small")
def test_everything_the_console_loads_is_small() -> None:
    sizes = {path: len(gzip.compress(path.read_bytes(), 9)) for path in ASSETS.rglob("*") if path.is_file()}
    assert {path.suffix for path in sizes} == {".html", ".js", ".css", ".woff2", ".svg", ".txt"}
    assert 20_000 < sum(sizes.values()) <= MOST
    for path in (path for path in sizes if path.suffix in (".html", ".js", ".css")):
        outside = set(re.findall(r"https?://[\w.-]+", path.read_text())) - {"http://www.w3.org"}
        assert outside == set(), f"{Path(path).name} names {outside}"
