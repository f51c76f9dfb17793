"""What backends can do, and what happens to whoever asks for more."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.sandboxing import names

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.backends.choosing import NAMES, open_backend
from holdfast.sandbox.capacity.abilities import asked
from holdfast.sandbox.policy.openshell import Binary, Endpoint, Landlock, NetworkPolicy, Policy
from holdfast.sandbox.policy.profile import BackendName, Env, Pooling, Profile, Quotas, Tree
from holdfast.sandbox.port import ABILITIES, Backend

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

_OUT = NetworkPolicy(endpoints=(Endpoint(host="api.example.com", port=443),), binaries=(Binary(path="/usr/bin/git"),))
ASKING = {
    "layers": Profile(workspace=Tree(apply="when-ended")),
    "network": Profile(policy=Policy(version=1, network_policies={"code": _OUT})),
    "secrets": Profile(env=Env(secrets={"SERVICE_KEY": ("api.example.com",)})),
    "landlock": Profile(policy=Policy(version=1, landlock=Landlock(compatibility="hard_requirement"))),
    "ready": Profile(pool=Pooling(ready=1)),
    "counted": Profile(limits=Quotas(sandboxes=40)),
}
"""A profile for each ability that takes it."""


async def opened(name: BackendName, profile: Profile) -> Backend:
    return await open_backend(Profile(**{each: getattr(profile, each) for each in FIELDS}, backend=name))


FIELDS = ("policy", "limits", "workspace", "env", "pool")


@pytest.mark.requirement("sandbox:capabilities-declared")
def test_each_ability_of_a_profile_is_asked_for_by_one_setting() -> None:
    assert not list(asked(Profile()))
    for ability, profile in ASKING.items():
        assert list(asked(profile)) == [ability]
    assert set(ASKING) == set(ABILITIES) - {"processes", "terminals"}


@pytest.mark.requirement("sandbox:capabilities-declared")
@pytest.mark.parametrize("name", [*NAMES])
async def test_a_backend_does_what_it_says_it_can_and_refuses_the_rest_by_name(
    tmp_path: Path, name: BackendName
) -> None:
    try:
        backend = await opened(name, Profile())
    except IsolationMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} is not to be had here: {error}")
    can = backend.can
    assert can <= set(ABILITIES)
    try:
        if "processes" not in can:
            with pytest.raises(SandboxError, match="keeps no processes"):
                await backend.start("true", name="one", folder=tmp_path, env={"PATH": os.defpath})
    finally:
        await backend.close()
    for ability, profile in ASKING.items():
        if ability in can:
            able = await opened(name, profile)
            env = {"PATH": os.defpath, "HOME": "/home/me"}
            ended = await able.run("echo x > made", folder=tmp_path, env=env, timeout=20, keep=1000)
            await able.close()
            assert (ended.code, names(tmp_path)) == (0, ["made"]), (ability, ended.output.text())
            (tmp_path / "made").unlink()
        else:
            with pytest.raises(IsolationMissing, match=f"{ability!r} "):
                await opened(name, profile)


@pytest.mark.requirement("sandbox:capabilities-declared")
async def test_without_a_sandbox_everything_that_takes_one_is_named_in_the_refusal() -> None:
    everything = Profile(
        backend="none",
        policy=ASKING["network"].policy,
        limits=ASKING["counted"].limits,
        workspace=ASKING["layers"].workspace,
        env=ASKING["secrets"].env,
        pool=ASKING["ready"].pool,
    )
    with pytest.raises(IsolationMissing) as refused:
        await open_backend(everything)
    for ability in ("layers", "network", "secrets", "ready", "counted"):
        assert f"{ability!r} ({ABILITIES[ability]})" in str(refused.value)
