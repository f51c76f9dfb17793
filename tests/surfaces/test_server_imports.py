"""Exports in which something was changed, over HTTP: each is refused, or makes a session that every route can show."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from tests.hostile import laden, sealed
from tests.running import MODEL, scene
from tests.security.test_export_fuzz import Home, changed
from tests.serving import serving

from holdfast import Agent

ASKED: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", None),
    ("GET", "/events?until=idle", None),
    ("GET", "/diff", None),
    ("GET", "/export", None),
    ("GET", "/waits", None),
    ("POST", "/fork", {"at": 2}),
    ("POST", "/rewind", {"to": 1}),
    ("POST", "/steer", {"text": "x"}),
    ("DELETE", "", None),
)


@pytest.mark.requirement("server_sessions:hostile-imports")
async def test_whatever_was_changed_in_a_file_the_server_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    chance, home, taken = random.Random(3), Home(tmp_path / "home"), 0
    agents = {"plain": Agent(MODEL, name="plain")}
    async with scene(["ok"] * 9, seconds=90) as s, serving(agents, runtime=s.runtime) as served:
        good = (await laden(s.runtime, home.folder)).splitlines()[:-1]
        whole = sealed(good).getvalue()
        files = [sealed(changed(good, chance)).getvalue() for _ in range(60)]
        files += [whole, b"x", b"\xff\n", whole[:-9], whole + whole, b"[" * 100_000 + b"\n"]
        for number, data in enumerate(files):
            async with served.client.post(f"/v1/imports?name=n{number}", data=data, headers=_LINES) as answer:
                told = await answer.json()
                assert answer.status in (201, 400), told
            if answer.status == 400:
                assert told["code"] == "usage" and told["detail"]
                continue
            taken += 1
            for method, path, body in ASKED:
                async with served.client.request(method, f"/v1/sessions/n{number}{path}", json=body) as answer:
                    text = await answer.text()
                    assert answer.status < 500 and '"status":500' not in text, (method, path, text)
    assert len(files) > taken > 0


_LINES = {"content-type": "application/x-ndjson"}
