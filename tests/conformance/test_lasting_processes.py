"""Every backend that says it can keep processes passes the one kit; the others refuse by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.test_backends import BACKENDS, Stage, opened

from holdfast.errors import SandboxError
from holdfast.sandbox.longrunning.keeping import RECORD, Kept
from holdfast.sandbox.policy.profile import Profile, Tree
from holdfast.testing.conformance.backends import lasting
from holdfast.testing.conformance.backends.running import Check, until

KEEPING = ("none", "native")


@pytest.fixture
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    made = Stage(await opened(request.param, Profile()), folder)
    yield made
    await made.backend.close()


@pytest.mark.requirement("sandbox:long-process-port", "sandbox:long-process-ends-with-sandbox")
@pytest.mark.parametrize("check", lasting.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("stage", KEEPING, indirect=True)
async def test_what_holds_of_a_process_that_goes_on(check: Check, stage: Stage) -> None:
    assert "processes" in stage.backend.can
    await check(stage)


@pytest.mark.parametrize("stage", [name for name in BACKENDS if name not in KEEPING], indirect=True)
async def test_a_backend_that_keeps_none_says_so(stage: Stage) -> None:
    assert "processes" not in stage.backend.can
    with pytest.raises(SandboxError, match=rf"{stage.backend.posture.backend}.*keeps no processes"):
        await stage.backend.start("true", name="it", folder=stage.folder, env={})


async def test_nothing_goes_on_where_changes_come_in_after_a_command(tmp_path: Path) -> None:
    backend = await opened("native", Profile(workspace=Tree(apply="when-ended")))
    try:
        assert "processes" not in backend.can
        with pytest.raises(SandboxError, match="at-once"):
            await backend.start("true", name="it", folder=tmp_path, env={})
    finally:
        await backend.close()


@pytest.mark.requirement("sandbox:long-process-port")
async def test_the_record_of_one_that_ended_is_kept_for_ten_minutes_and_no_longer(tmp_path: Path) -> None:
    assert RECORD == 600
    backend = await opened("none", Profile())
    backend._processes = Kept(record=0.05)  # type: ignore[attr-defined]
    process = await backend.start("exit 7", name="it", folder=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert await process.wait() == 7
    assert backend.processes.find("", "it") is process
    await until(lambda: backend.processes.find("", "it") is None, "it is forgotten")


async def test_one_that_a_log_calls_running_is_known_until_the_log_knows_that_it_ended(tmp_path: Path) -> None:
    backend = await opened("none", Profile())
    environment = {"PATH": "/usr/bin:/bin"}
    first = await backend.start("exit 7", name="it", folder=tmp_path, env=environment)
    first.noted = True
    assert await first.wait() == 7
    second = await backend.start("exit 8", name="it", folder=tmp_path, env=environment)
    assert await second.wait() == 8
    assert list(backend.processes.of("")) == [first, second]
    assert backend.processes.find("", "it") is second
    first.settled = True
    backend.processes._expire(first)
    third = await backend.start("exit 9", name="it", folder=tmp_path, env=environment)
    assert await third.wait() == 9
    assert list(backend.processes.of("")) == [third], "nobody waits to hear of the others"
    await backend.close()
