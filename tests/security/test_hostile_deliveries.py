"""Names, headers and addresses that want out: of a folder, of a header line, of the network."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.loopback import answer, serving
from tests.running import MODEL, scene, soon

from holdfast import Agent, ToolContext, WebhookTarget, tool
from holdfast.errors import DeliveryRefused, UsageError
from holdfast.runtime.delivering.port import Delivery
from holdfast.runtime.delivering.targets.finding import Targets
from holdfast.testing import Call, Turn
from holdfast.types import SessionId, distinct, plain_name, plain_type, stream_id

HOSTILE = (
    "../../../etc/passwd",
    "/etc/cron.d/x",
    "..\\..\\windows\\system.ini",
    "..",
    ".",
    "",
    "a/../../b",
    "nul",
    "CON.txt",
    "a\r\nX-Evil: 1",
    "a\0b",
    "\u202egnp.exe",
    "x" * 5_000 + ".txt",
    "🦊" * 200,
    "name:stream",
    "trailing. . .",
    ".ssh",
)


@tool(effect="none")
async def attach(names: list[str], media_type: str, context: ToolContext) -> str:
    """Attaches a file under each name."""
    for name in names:
        await context.attach(name, name.encode("utf-8", "replace"), media_type=media_type)
    return "attached"


@given(st.text(max_size=300))
def test_a_name_stands_for_one_file_in_one_folder_whatever_it_was(name: str) -> None:
    plain = plain_name(name)
    assert plain
    assert plain not in (".", "..")
    assert not set(plain) & set('/\\\0\r\n<>:"|?*')
    assert len(plain.encode()) <= 205
    assert plain_name(plain) == plain


@given(st.lists(st.sampled_from(("a.txt", "A.TXT", "a-2.txt", "a", "../a", "a-2", ".a")), max_size=12))
def test_names_that_are_told_together_differ_also_where_letter_case_does_not_count(names: list[str]) -> None:
    told = distinct(names)
    assert len(told) == len(names)
    assert len({each.casefold() for each in told}) == len(told)


@pytest.mark.requirement("runtime:delivery-hostile-names")
async def test_hostile_names_of_attachments_stay_in_the_folder_of_their_delivery(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "out"
    script = [
        Turn(calls=[Call("attach", {"names": list(HOSTILE), "media_type": "text/html\r\nX-Evil: 1"})]),
        Turn(text="done"),
    ]
    agent = Agent(MODEL, tools=[attach])
    async with serving() as server, scene(script, targets={"web": WebhookTarget(f"{server.url}/x")}) as s:
        run = await s.runtime.start(agent, "go", session="s", deliver=[f"file:{folder}", "web"])
        assert (await soon(run.result())).status == "completed"
        assert await s.runtime.flush_deliveries() == []
    _stayed(tmp_path, folder)
    (request,) = server.requests
    assert "x-evil" not in request.headers
    sent = msgspec.json.decode(request.body)["attachments"]
    assert {each["media_type"] for each in sent} == {"application/octet-stream"}


def _stayed(top: Path, folder: Path) -> None:
    found = sorted(path.relative_to(folder) for path in top.rglob("*") if path.is_file())
    assert len(found) == len(HOSTILE) + 1
    assert {len(path.parts) for path in found} == {2, 3}
    assert [path.name for path in top.iterdir()] == ["a"]


@pytest.mark.requirement("runtime:delivery-hostile-headers")
@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nEvil: 1"},
        {"X\r\nEvil": "1"},
        {"X": "a\nb"},
        {"Idempotency-Key": "mine"},
        {"Content-Length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"Host": "other"},
    ],
)
def test_headers_that_would_change_the_request_are_refused_when_the_target_is_made(headers: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is no header"):
        WebhookTarget("https://example.com/", headers=headers)


@pytest.mark.requirement("runtime:delivery-guarded")
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]", "localhost"],
)
async def test_an_endpoint_that_a_run_names_may_not_lie_in_this_machine_or_its_network(host: str) -> None:
    async with serving() as server, scene([Turn(text="done")]) as s:
        with pytest.raises(UsageError, match="of this machine or of a private network"):
            await s.runtime.start(
                Agent(MODEL), "go", session="s", deliver=[f"webhook:http://{host}:{server.port}/hook"]
            )
        assert await s.runtime.journal.head(stream_id("local", "s")) is None, "nothing was begun"
    assert server.connections == 0


@pytest.mark.requirement("runtime:delivery-guarded")
async def test_an_address_that_is_not_trusted_is_looked_at_when_it_is_dialled() -> None:
    async with serving() as server:
        target = WebhookTarget(f"http://127.0.0.1:{server.port}/hook", trusted=False)
        with pytest.raises(DeliveryRefused, match=r"public policy.*targets="):
            await target.deliver(Delivery(id="d-1", session=SessionId("s"), run=1, status="completed"))
        await target.close()
    assert server.connections == 0


@pytest.mark.requirement("runtime:delivery-guarded")
async def test_a_redirect_is_not_followed_and_the_message_holds_no_secret_of_the_url() -> None:
    async def redirects(_request: object, writer: object, _server: object) -> None:
        writer.write(answer(b"", "307 X", "Location: http://169.254.169.254/\r\n"))  # type: ignore[attr-defined]

    async with serving(redirects) as server:
        target = WebhookTarget(f"{server.url}/T0KEN?key=T0KEN", headers={"Authorization": "T0KEN"})
        with pytest.raises(DeliveryRefused) as caught:
            await target.deliver(Delivery(id="d-1", session=SessionId("s"), run=1, status="completed"))
        await target.close()
    assert "T0KEN" not in str(caught.value)


@pytest.mark.requirement("runtime:delivery-targets")
def test_targets_that_promise_what_cannot_be_kept_are_refused() -> None:
    with pytest.raises(UsageError, match="is no promise"):
        WebhookTarget("https://example.com/", "exactly-once")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="checkable"):
        WebhookTarget("https://example.com/", "checkable")
    with pytest.raises(UsageError, match="is no URL"):
        WebhookTarget("file:///etc/passwd")
    with pytest.raises(UsageError, match="no name for a target"):
        Targets({"file": WebhookTarget("https://example.com/")}, None)


def test_a_media_type_is_one_or_none() -> None:
    assert plain_type("text/plain") == "text/plain"
    assert {plain_type(each) for each in ("", "text", "a/b; charset=x\r\nE: 1", "a/b\n")} == {
        "application/octet-stream"
    }
