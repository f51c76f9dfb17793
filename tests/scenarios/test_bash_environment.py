"""What a command of an agent finds of our environment: what its profile lists, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.running import MODEL, of, scene, soon

from holdfast import Agent
from holdfast.engine.events import ToolFinished
from holdfast.sandbox.policy.profile import Env, Profile
from holdfast.testing import Call, Turn


@pytest.mark.requirement("tools:bash-environment")
@pytest.mark.parametrize("listed", [(), ("SOME_API_KEY",)], ids=["nothing", "one key"])
async def test_a_command_sees_a_providers_key_only_where_the_profile_lists_it(
    tmp_path: Path, listed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SOME_API_KEY", "OTHER_API_KEY"):
        monkeypatch.setenv(name, f"key-of-{name}")
    profile = Profile(backend="none", env=Env(allow=listed))
    turns = [Turn(calls=[Call("bash", {"command": "env; cat /proc/$$/environ | tr '\\0' '\\n'"})]), Turn("done")]
    async with scene(turns, url=f"sqlite:///{tmp_path}/s.db", sandbox=profile) as s:
        agent = Agent(MODEL, tools=["bash"])
        await soon((await s.runtime.start(agent, "go", session="s", workspace=tmp_path)).result(), 10)
        (finished,) = of(ToolFinished, await s.log())
    seen = {name for name in ("SOME_API_KEY", "OTHER_API_KEY") if f"key-of-{name}" in finished.result.content}
    assert seen == set(listed)
    assert "PATH=" in finished.result.content
