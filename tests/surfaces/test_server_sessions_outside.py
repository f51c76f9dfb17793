"""What comes in from tools elsewhere, and what goes out to whoever waits for results."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from tests.loopback import Request, Server, answer
from tests.loopback import serving as endpoint
from tests.running import MODEL, scene, until
from tests.serving import serving
from tests.surfaces.listening import asked, drain, get, post

from holdfast import Agent
from holdfast.errors import DeliveryRefused, UsageError
from holdfast.runtime.delivering.port import Delivery
from holdfast.runtime.delivering.targets.signing import TenantSecrets, read_secret
from holdfast.runtime.delivering.targets.webhook import WebhookTarget
from holdfast.testing import Call, Turn
from holdfast.tools.elsewhere.declaring import remote
from holdfast.tools.transports.callback import Callback
from holdfast.types import TenantId

PLAIN = {"plain": Agent(MODEL, name="plain")}
OURS = "whsec_" + base64.b64encode(b"o" * 32).decode()
THEIRS = "whsec_" + base64.b64encode(b"t" * 32).decode()


def weather(city: str) -> str:
    """Tells the weather."""
    raise AssertionError("it stands elsewhere")


async def _pending(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
    writer.write(answer(b"", "202 Accepted"))


@pytest.mark.requirement("server_sessions:callbacks")
async def test_a_tool_elsewhere_brings_its_answer_once_and_nobody_brings_one_that_is_not_waited_for() -> None:
    script = [Turn(calls=[Call("weather", {"city": "Rome"})]), Turn(text="thanks")]
    async with endpoint(_pending) as elsewhere, scene(script) as s:
        tool = remote(Callback(elsewhere.url, private=True, brought=True))(weather)
        agents = {"forecaster": Agent(MODEL, name="forecaster", tools=[tool])}
        async with serving(agents, runtime=s.runtime) as served:
            made = await asked(served, "how is it in Rome?")
            await until(lambda: bool(elsewhere.requests))
            token = json.loads(elsewhere.requests[0].body)["request_id"]
            body = {
                "tool_contract_version": "v1",
                "request_id": token,
                "status": "ok",
                "output": {"result": "sunny"},
            }
            while (found := await post(served, f"/callbacks/{token.replace('/', '%2F')}", body))[0] == 404:
                pass
            assert found[0] == 202
            assert (await post(served, f"/callbacks?token={token}", body))[0] == 200
            for wrong, status in (("local/nobody/r/c", 404), ("x", 404), ("other/s/r/c", 404)):
                assert (await post(served, f"/callbacks?token={wrong}", body))[0] == status
            _, outcome = await get(served, f"/sessions/s/runs/{made['prompt']['key']}", params={"wait": 5})
            assert outcome["output"] == "thanks"


@pytest.mark.requirement("server_sessions:deliveries")
async def test_what_did_not_arrive_is_listed_and_a_dead_delivery_is_tried_again() -> None:
    taken: list[Delivery] = []

    async def target(delivery: Delivery) -> None:
        if not taken:
            taken.append(delivery)
            raise DeliveryRefused("not today")
        taken.append(delivery)

    async with scene([Turn(text="done")], targets={"team": target}) as s, serving(PLAIN, runtime=s.runtime) as served:
        await asked(served, "hi", deliver=["team"])
        await drain(served, "s")
        await s.runtime.flush_deliveries()
        (dead,) = (await get(served, "/deliveries"))[1]["deliveries"]
        assert (dead["target"], dead["dead"], dead["session"]) == ("team", True, "s")
        assert (await post(served, "/deliveries/d-none/revive"))[0] == 404
        assert (await post(served, f"/deliveries/{dead['id']}/revive"))[1] == {"deliveries": []}
        assert (await get(served, "/deliveries"))[1] == {"deliveries": []}
        assert [each.id for each in taken] == [dead["id"]] * 2


def _verified(request: Request, secret: str) -> bool:
    """Checks a request as a receiver does that knows one secret."""
    headers = request.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    mine = base64.b64encode(hmac.digest(read_secret(secret), signed, hashlib.sha256)).decode()
    return f"v1,{mine}" in headers["webhook-signature"].split(" ")


@pytest.mark.requirement("server_sessions:webhooks-signed")
async def test_a_result_goes_out_as_a_cloud_event_signed_with_every_secret_of_its_tenant_only() -> None:
    secrets = TenantSecrets(OURS, THEIRS)
    async with endpoint() as server:
        target = WebhookTarget(server.url, envelope="cloudevents", secrets=secrets)
        async with (
            scene([Turn(text="done")], targets={"web": target}) as s,
            serving(PLAIN, runtime=s.runtime) as served,
        ):
            s.runtime.sign_webhooks(OURS, THEIRS)
            await asked(served, "hi", deliver=["web"])
            await drain(served, "s")
            await s.runtime.flush_deliveries()
            (request,) = server.requests
            told = (await get(served, "/webhook-secrets"))[1]["secrets"]
            event: dict[str, Any] = json.loads(request.body)
            assert request.headers["content-type"] == "application/cloudevents+json"
            assert (event["specversion"], event["type"]) == ("1.0", "holdfast.run.completed")
            assert event["id"] == request.headers["webhook-id"] == event["data"]["id"]
            assert (event["source"], event["data"]["output"]) == ("/holdfast/local/sessions/s", "done")
            assert len(told) == 2 and all(_verified(request, each) for each in told)
            for other in (OURS, THEIRS, *secrets(TenantId("other"))):
                assert not _verified(request, other)
            request.body += b" "
            assert not any(_verified(request, each) for each in told)


@pytest.mark.requirement("server_sessions:webhooks-signed")
async def test_addresses_that_clients_name_are_signed_once_the_server_has_a_secret() -> None:
    async with scene([Turn(text="done")]) as s:
        assert s.runtime.webhook_secrets() == ()
        s.runtime.sign_webhooks(OURS)
        target = s.runtime._outgoings._targets.find("webhook:https://example.org/hook")
        assert isinstance(target, WebhookTarget)
        assert (target._envelope, target._secrets) == ("cloudevents", s.runtime._outgoings._targets.secrets)
        mine, theirs = s.runtime.webhook_secrets(), s.runtime.acting_for(tenant="other").webhook_secrets()
        assert len({*mine, *theirs, OURS}) == 3


@pytest.mark.requirement("server_sessions:webhooks-signed")
@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "AAAA" * 8, "whsec_" + "!" * 44, "whsec_" + "A" * 400])
def test_what_is_no_secret_is_refused_and_not_told(secret: str) -> None:
    for refuses in (lambda: TenantSecrets(secret), lambda: WebhookTarget("https://example.org", secrets=[secret])):
        with pytest.raises(UsageError) as refused:
            refuses()
        assert len(secret) < 7 or secret not in str(refused.value)


def test_an_envelope_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError):
        WebhookTarget("https://example.org", envelope="xml")  # type: ignore[arg-type]
