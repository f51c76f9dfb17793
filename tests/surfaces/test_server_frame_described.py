"""What the server says of itself: the description of its routes, the page made from it, figures and the log."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import py_compile
import re
import sys
import threading
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

import jsonschema
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.listening import BOUND, listening
from tests.running import scene
from tests.serving import serving
from tests.standing import SERVED

from holdfast import Agent
from holdfast.server.access.principal import Principal
from holdfast.server.app import ROUTES
from holdfast.server.observing.figures import Figures
from holdfast.server.observing.logging import AccessLog, Lines
from holdfast.server.parts import Heard
from holdfast.server.routing import openapi
from holdfast.server.routing.documenting import FieldWords
from holdfast.server.routing.openapi import Description, document_of
from holdfast.testing import Turn
from holdfast.types import TenantId

T = TypeVar("T")
RESULT = "/v1/sessions/{session}/runs/{key}"


def described() -> dict[str, Any]:
    return json.loads(json.dumps(document_of(ROUTES)))


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, told) for path, methods in document["paths"].items() for method, told in methods.items()]


@pytest.mark.requirement("server_frame:description")
def test_every_route_is_described_once_with_a_name_and_all_it_takes() -> None:
    document = described()
    found = operations(document)
    assert len(found) == len([each for each in ROUTES if each.described])
    names = [told["operationId"] for _, _, told in found]
    assert len(set(names)) == len(names)
    for path, method, told in found:
        assert told["summary"] and told["tags"], (method, path)
        named = set(re.findall(r"\{(\w+)\}", path))
        assert {each["name"] for each in told.get("parameters", ()) if each["in"] == "path"} == named, path
        problems = [each for status, each in told["responses"].items() if status >= "400"]
        assert problems and all("content" in each for each in problems)
        assert ("security" in told) and (bool(told["security"]) == ("x-scope" in told))


@pytest.mark.requirement("server_frame:description")
def test_every_reference_of_the_description_leads_somewhere_and_every_schema_is_one() -> None:
    document = described()

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [each for item in node for each in references(item)]
        if not isinstance(node, dict):
            return []
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in references(value)]

    schemas = document["components"]["schemas"]
    assert {each.removeprefix("#/components/schemas/") for each in references(document)} <= set(schemas)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    operation_ids = {told["operationId"] for _, _, told in operations(document)}
    for _, _, told in operations(document):
        for answer in told["responses"].values():
            assert {each["operationId"] for each in answer.get("links", {}).values()} <= operation_ids


@pytest.mark.requirement("server_frame:description-of-fields")
def test_what_a_field_is_for_is_said_in_the_words_of_its_declaration_wherever_it_is_taken_or_given() -> None:
    document = json.loads(json.dumps(document_of(SERVED)))
    schemas = document["components"]["schemas"]
    idle = schemas["ControlBody"]["properties"]["idle"]["description"]
    assert idle.startswith("Seconds after a run in which nobody says anything until the session ends")
    assert "\n" not in idle
    (wait,) = [each for each in document["paths"][RESULT]["get"]["parameters"] if each["in"] == "query"]
    assert wait["description"].startswith("Seconds that an open run is given to end")
    events = schemas["stream.ToolStarted"]["properties"]
    assert events["terminal"]["description"] == "Whether the run is over when it goes well."
    inherited = schemas["stream.ToolStartedEvent"]["properties"]["seq"]["description"]
    assert inherited == schemas["stream.RunStartedEvent"]["properties"]["seq"]["description"]
    assert [name for name in schemas if "holdfast." in name] == [], "two shapes of one name: rename one"


@pytest.mark.requirement("server_frame:description-of-fields")
@pytest.mark.parametrize("later", [None, "class Shape(", "x = '\0'"])
def test_where_the_source_is_gone_or_broken_fields_go_without_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str | None
) -> None:
    name = f"shipped_{tmp_path.name.replace('-', '_')}"
    source = tmp_path / f"{name}.py"
    source.write_text(
        "import msgspec\n\n\nclass Shape(msgspec.Struct, rename='camel'):\n    first_part: int\n"
        '    """Said\n    in two lines."""\n    other: int\n\n    class Inner(msgspec.Struct):\n'
        "        last: int\n        'Short.'\n\n\nclass Narrower(Shape):\n"
        "    first_part: bool\n    own: int\n    'Mine.'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, name, None)  # so that what is imported now is gone afterwards
    del sys.modules[name]
    shipped = importlib.import_module(name)
    assert FieldWords().of(shipped.Shape) == {"firstPart": "Said in two lines."}
    assert FieldWords().of(shipped.Shape.Inner) == {"last": "Short."}
    assert FieldWords().of(shipped.Narrower) == {"own": "Mine."}, "what it says anew, nobody has said words for"
    if later is None:
        py_compile.compile(str(source), str(tmp_path / f"{name}.pyc"))
        source.unlink()
        del sys.modules[name]
        importlib.invalidate_caches()
    else:
        source.write_text(later)
    assert FieldWords().of(shipped.Shape) == {}


class Narrow(msgspec.Struct, array_like=True):
    first: int
    """Has no name on the wire."""


class Box(msgspec.Struct, Generic[T]):
    held: T
    """Of some type."""


@dataclass
class Chain:
    next: Chain | None
    narrow: Narrow
    box: Box[int]


@pytest.mark.requirement("server_frame:description-of-fields")
def test_shapes_that_hold_themselves_have_no_names_or_are_of_any_type_are_described_all_the_same() -> None:
    found, components = FieldWords().schemas([Chain], "#/{name}")
    assert list(found) == [{"$ref": "#/Chain"}]
    assert set(components) == {"Chain", "Narrow", "Box_int_"}


@pytest.mark.requirement("server_frame:description")
async def test_a_description_is_made_once_whoever_goes_meanwhile_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> dict[str, Any]:
        made.append(1)
        begun.set()
        assert go_on.wait(BOUND)
        return {"openapi": "3.1.0"}

    monkeypatch.setattr(openapi, "document_of", slow)
    async with serving() as served:
        description = served.service.parts[Description]
        assert isinstance(description, Description)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(description.document(guarded=False), 0.01)
        asking = [asyncio.ensure_future(served.client.get("/openapi.json")) for _ in range(8)]
        assert await asyncio.to_thread(begun.wait, BOUND)
        assert (await served.client.get("/healthz")).status == 200
        go_on.set()
        assert {(await each).status for each in asking} == {200}
    assert made == [1]


@pytest.mark.requirement("server_frame:description")
async def test_a_server_without_keys_describes_no_way_to_say_who_asks() -> None:
    async with serving() as served, served.client.get("/openapi.json") as answer:
        document = await answer.json()
        assert document["openapi"] == "3.1.0"
        assert "securitySchemes" not in document["components"]
        assert not [told for _, _, told in operations(document) if "security" in told]


@pytest.mark.requirement("server_frame:docs-page")
async def test_the_page_asks_nobody_but_this_server_and_runs_its_own_script_alone() -> None:
    async with serving() as served, served.client.get("/docs") as answer:
        page, policy = await answer.text(), answer.headers["content-security-policy"]
        assert answer.content_type == "text/html"
        assert "http://" not in page and "https://" not in page
        assert len(page) < 20_000
        script = page.partition("<script>")[2].partition("</script>")[0]
        assert f"script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "prefers-color-scheme: dark" in page
        assert "innerHTML" not in page


@pytest.mark.requirement("server_frame:figures")
async def test_figures_count_requests_by_routes_that_exist_and_never_by_what_clients_write() -> None:
    async with listening() as server:
        for path in ("/healthz", "/healthz", "/nothing/a", "/nothing/b", "/version?x=1"):
            await server.get(path)
        client = await server.connect()
        client.send("PURGE /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await client.rest()
        client = await server.connect()
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        text = (await client.rest()).partition("\r\n\r\n")[2]
    found = {family.name: family for family in text_string_to_metric_families(text)}
    counted = {tuple(sorted(each.labels.items())): each.value for each in found["holdfast_http_requests"].samples}

    def of(route: str, method: str, status: str) -> float:
        return counted[(("method", method), ("route", route), ("status", status))]

    assert of("/healthz", "GET", "200") == 2
    assert of("none", "GET", "404") == 2
    assert of("/version", "GET", "400") == 1
    assert of("/healthz", "other", "405") == 1
    assert "nothing" not in text and "PURGE" not in text
    assert {each.labels["code"] for each in found["holdfast_http_refusals"].samples} == {
        *("not_found", "bad_query", "method_not_allowed")
    }
    assert {each.labels["state"] for each in found["holdfast_sessions"].samples} == {"driven", "parked", "queued"}
    assert found["holdfast_http_connections"].samples[0].value == 1


@pytest.mark.requirement("server_frame:figures", "server_frame:tally")
async def test_runs_tokens_and_dollars_are_counted_as_they_are_written_down() -> None:
    async with scene([Turn("One."), Turn("Two.")]) as s:
        figures = Figures(s.runtime)
        agent = Agent("openai/gpt-5-mini")
        results = [await (await s.runtime.start(agent, "Count.", session="a")).result() for _ in range(2)]
        text = figures.exposed().decode()
        await asyncio.sleep(0)
        used = s.runtime.tally().models["openai/gpt-5-mini"]
        assert s.runtime.tally() is s.runtime.tally()
    assert 'holdfast_runs_total{status="completed"} 2.0' in text
    assert used.calls == 2 and used.output_tokens == sum(each.usage.output_tokens for each in results) > 0
    assert f'holdfast_tokens_total{{kind="output",model="openai/gpt-5-mini"}} {float(used.output_tokens)}' in text
    assert used.cost > 0 and "holdfast_dollars_total" in text


def heard(**more: Any) -> Heard:
    given: dict[str, Any] = {"method": "GET", "route": "/v1/sessions/{session}", "status": 200, "seconds": 0.01}
    return Heard(**(given | more))


@pytest.mark.requirement("server_frame:access-log")
@pytest.mark.parametrize("form", ["json", "text"])
def test_the_log_is_a_line_for_each_request_whatever_a_client_writes(form: Any) -> None:
    out = io.StringIO()
    lines = Lines(out)
    log = AccessLog(lines, form)
    evil = "1.1.1.1\n\x1b[31m\u202e\x9b"
    principal = Principal(tenant=TenantId("t"), user="ada", scopes=frozenset(), how="key", id="0123")
    log.heard(heard(client=evil, method="GET\r\nX", who=principal, request_id="r1"))
    log.note("warning", "a library says \x1b]0;title\x07 Bearer sk-live-abcdefghijklmnopqrstuvwxyz0123456789")
    lines.close()
    text = out.getvalue()
    assert text.isascii() or form == "text"
    assert len(text.splitlines()) == 2
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "abcdefghijklmnop" not in text
    if form == "json":
        first = json.loads(text.splitlines()[0])
        assert (first["user"], first["principal"], first["route"]) == ("ada", "0123", "/v1/sessions/{session}")


@pytest.mark.requirement("server_frame:access-log")
def test_whoever_does_not_read_the_log_holds_up_nobody_and_it_says_how_much_is_missing() -> None:
    import threading

    reading = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            reading.wait(20)
            return super().write(text)

    out = Stuck()
    lines = Lines(out)
    for number in range(30_000):
        lines.add(str(number))
    reading.set()
    lines.close()
    told = out.getvalue().splitlines()
    dropped = [json.loads(each)["count"] for each in told if "lines_dropped" in each]
    assert sum(dropped) + len(told) - len(dropped) == 30_000
    assert sum(dropped) >= 10_000


@pytest.mark.requirement("server_frame:access-log")
async def test_queries_headers_and_paths_as_they_were_sent_are_not_in_the_log() -> None:
    out = io.StringIO()
    lines = Lines(out)
    async with listening(observer=AccessLog(lines)) as server:
        client = await server.connect()
        client.send(
            "GET /nothing/s3cret-path?key=s3cret-query HTTP/1.1\r\nHost: localhost\r\n"
            "Authorization: Bearer s3cret-key\r\nCookie: a=s3cret-cookie\r\nConnection: close\r\n\r\n"
        )
        await client.rest()
    lines.close()
    assert json.loads(out.getvalue())["status"] == 404
    assert "s3cret" not in out.getvalue()
