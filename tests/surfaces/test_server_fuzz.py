"""Schemathesis with all its checks, stateful too, against every route: a few examples of each here, and as many as
anybody has time for by `make fuzz-server`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.fuzzing import BEYOND, fuzz
from tests.standing import AGENTOPS_ROUTES, SERVED

from holdfast.server.routing.openapi import document_of
from holdfast.server.routing.route import Route

DOORS = {"served": SERVED, "agentops": AGENTOPS_ROUTES}


@pytest.mark.requirement("server_frame:schemathesis")
@pytest.mark.parametrize("door", DOORS)
async def test_every_route_withstands_schemathesis_with_all_its_checks(door: str, tmp_path: Path) -> None:
    routes: Sequence[Route] = DOORS[door]
    found = await fuzz(door, routes, tmp_path, examples=1, phases="fuzzing,stateful")
    assert found.passed, (found.unforeseen, found.said)
    assert not found.server_errors
    assert found.cases > len(routes)


@pytest.mark.requirement("server_frame:schemathesis")
def test_what_is_made_is_linked_with_what_can_be_asked_of_it_and_with_nothing_else() -> None:
    paths: dict[str, Any] = document_of(SERVED)["paths"]
    sessions, keys = (paths[path]["post"]["responses"]["201"]["links"] for path in ("/v1/sessions", "/v1/keys"))
    assert {"sessions_prompt", "sessions_events", "sessions_fork"} <= set(sessions)
    assert set(keys) == {"keys_show_key", "keys_end_key", "keys_rotate_key"}
    assert "keys_show_key" not in paths["/v1/sessions/{session}/prompts"]["post"]["responses"]["202"]["links"]


def test_what_the_checks_are_told_to_expect_is_of_routes_that_there_are() -> None:
    known = {f"{each.method} {each.path}" for routes in DOORS.values() for each in routes}
    assert {operation for operation, _, _ in BEYOND} <= known
    assert all(why for _, _, why in BEYOND)
