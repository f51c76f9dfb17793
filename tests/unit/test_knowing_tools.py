"""The time, a thought, and when two addresses are one place."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.knowing.addresses import place_of
from holdfast.tools.builtin.knowing.now import now
from holdfast.tools.builtin.knowing.think import think
from holdfast.types import CallId, Effect, StreamId, ToolResult


async def use(tool: Any, at: int = 0, **arguments: Any) -> ToolResult:
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", now=lambda: at)
    return await tool.run(tool.parse(json.dumps(arguments).encode()), context)


@pytest.mark.requirement("knowing:now")
@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("UTC", "Sunday, 2026-03-29T00:59:59+00:00 (UTC)"),
        ("utc", "Sunday, 2026-03-29T00:59:59+00:00 (utc)"),
        ("Europe/Berlin", "Sunday, 2026-03-29T01:59:59+01:00 (Europe/Berlin)"),
        ("America/New_York", "Saturday, 2026-03-28T20:59:59-04:00 (America/New_York)"),
    ],
)
async def test_the_time_is_that_of_the_runs_clock_in_the_zone_asked_for(zone: str, said: str) -> None:
    at = 1_774_745_999_999_999  # a microsecond before summer begins in Berlin
    assert (await use(now, at, timezone=zone)).content == said
    if zone == "Europe/Berlin":
        assert "T03:00:00+02:00" in (await use(now, at + 1, timezone=zone)).content


@pytest.mark.requirement("knowing:now")
@pytest.mark.parametrize("zone", ["Mars/Olympus", "America", "../../etc/passwd", "/etc/passwd", "\0", "Ü", "a" * 64])
async def test_a_zone_that_there_is_not_is_refused_in_words(zone: str) -> None:
    with pytest.raises(ToolFailure, match="give an IANA name") as caught:
        await use(now, timezone=zone)
    assert caught.value.code == "invalid_input"


@pytest.mark.requirement("knowing:now")
async def test_without_a_zone_it_is_utc() -> None:
    assert (await use(now)).content == "Thursday, 1970-01-01T00:00:00+00:00 (UTC)"
    assert now.spec.effect == Effect(False, "none")


@pytest.mark.requirement("knowing:think")
async def test_a_thought_is_only_acknowledged() -> None:
    result = await use(think, thought="Is it so? " * 1000)
    assert (result.content, result.metadata) == ("Noted. Go on.", {"ui": "thought", "length": 10_000})
    assert think.spec.effect == Effect(False, "none")


@pytest.mark.requirement("knowing:cite-spellings")
@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a?b=c",
        "HTTPS://Example.ORG/a?b=c",
        "https://example.org:443/a?b=c#part",
        "https://example.org./a?b=c#",
        " https://example.org/a?b=c\n",
    ],
)
def test_spellings_of_one_place_are_one(url: str) -> None:
    assert place_of(url) == "https://example.org/a?b=c"


@pytest.mark.requirement("knowing:cite-spellings")
@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a?b=c",
        "https://example.org/A?b=c",
        "https://example.org/a?b=d",
        "https://example.org:8443/a?b=c",
        "https://sub.example.org/a?b=c",
        "https://example.org/a/?b=c",
    ],
)
def test_what_differs_in_more_is_another_place(url: str) -> None:
    assert place_of(url) not in ("", "https://example.org/a?b=c")


@pytest.mark.requirement("knowing:cite-spellings")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "https://",
        "https:///a",
        "https://u:p@example.org/",
        "http://[::1",
        "http://a:b/",
        "http://a:99999999/",
        "javascript:1",
    ],
)
def test_what_is_no_address_of_the_web_is_no_place(url: str) -> None:
    assert place_of(url) == ""


def test_an_address_without_a_path_and_one_of_ipv6_are_places() -> None:
    assert place_of("http://EXAMPLE.org") == place_of("http://example.org:80/") == "http://example.org/"
    assert place_of("http://[FE80::1]:8080/x") == "http://[fe80::1]:8080/x"


@pytest.mark.requirement("knowing:loaded-late")
def test_none_of_these_tools_is_loaded_before_somebody_wants_it() -> None:
    code = (
        "import sys, holdfast\n"
        "from holdfast.tools.builtin.table import BUILTIN\n"
        "assert {'calculator', 'think', 'now', 'cite', 'web_search', 'python'} <= set(BUILTIN)\n"
        "early = [each for each in sys.modules if each.startswith(('holdfast.tools.builtin.knowing', "
        "'holdfast.tools.builtin.running', 'holdfast.sandbox.snippets', 'zoneinfo', 'wasmtime'))]\n"
        "assert not early, early\n"
        "holdfast.Agent('openai/x', tools=['calculator', 'think', 'now', 'cite', 'web_search', 'python'])\n"
        "assert 'wasmtime' not in sys.modules and 'aiohttp' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
