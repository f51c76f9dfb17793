"""The Bedrock provider and the official client against the scripted model server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import ProcessProvider, RefreshableCredentials
from botocore.exceptions import ClientError
from tests.loopback import Request, Server, answer, serving
from tests.running import scene, soon

from holdfast import Agent, tool
from holdfast.errors import (
    AuthFailed,
    ConnectionFailed,
    ContextOverflow,
    InvalidRequest,
    Malformed,
    ModelError,
    ModelTimeout,
    Overloaded,
    RateLimited,
    ServerError,
)
from holdfast.models import signing
from holdfast.models.port import ModelRequest
from holdfast.models.providers import bedrock
from holdfast.models.providers.bedrock import BedrockModel
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED
from holdfast.testing import Call, Exchange, ScriptedModelServer, Tokens, Turn
from holdfast.testing.faults import (
    Cut,
    Drip,
    Empty,
    Fault,
    GzipBomb,
    Hang,
    Reset,
    Status,
    StreamError,
    Truncated,
    Unfinished,
    WrongType,
)
from holdfast.testing.faults import Malformed as MalformedEvent
from holdfast.types import AssistantMessage, Text, Thinking, Usage, UserMessage

ASKED = ModelRequest(instructions="Be kind.", messages=[UserMessage((Text("hi"),))])
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SECRET = "wJalrXUtnFEMI/K7MDENG"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-west-1"}
TURN = Turn(
    text="Hello wörld",
    calls=[Call("f", {"x": 1}), Call("g", id="call-2")],
    thinking="hm",
    signature="c2ln",
    redacted="c2VjcmV0",
    usage=Tokens(100, 20, 40, 10),
    chunk=4,
)


@pytest.fixture(autouse=True)
def nothing_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for variable in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", *KEYS):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    signing._session.cache_clear()
    yield
    signing._session.cache_clear()


@asynccontextmanager
async def served(script: Any, silence: float = 5.0) -> AsyncGenerator[tuple[ScriptedModelServer, HttpClient]]:
    async with (
        ScriptedModelServer(script) as server,
        HttpClient(TRUSTED, NetSettings(silence_timeout=silence)) as client,
    ):
        yield server, client


async def outcome(model: Any, request: ModelRequest = ASKED) -> AssistantMessage:
    *_, message = [item async for item in model.stream(request)]
    assert isinstance(message, AssistantMessage)
    return message


def signature_of(exchange: Exchange, secret: str) -> str:
    """Returns the signature of what a server heard, as Amazon's specification of version 4 computes it."""
    scheme, credential, names, _ = exchange.headers["authorization"].replace(",", "").split()
    day, region, service = credential.split("/")[1:4]
    signed = names.partition("=")[2]
    assert scheme == "AWS4-HMAC-SHA256"
    lines = [f"{name}:{' '.join(exchange.headers[name].split())}\n" for name in signed.split(";")]
    body = hashlib.sha256(exchange.body).hexdigest()
    whole = "\n".join([exchange.method, quote(exchange.target, safe="/~"), "", "".join(lines), signed, body])
    scope = f"{day}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(whole.encode()).hexdigest()
    text = "\n".join([scheme, exchange.headers["x-amz-date"], scope, digest])
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def signed_with(exchange: Exchange) -> str:
    return exchange.headers["authorization"].partition("Credential=")[2].partition("/")[0]


@pytest.mark.requirement("bedrock:provider-end-to-end", "bedrock:signed")
@pytest.mark.parametrize("name", [MODEL, "arn:aws:bedrock:us-east-1:123456789012:inference-profile/a.b-v1:0", "m"])
async def test_an_answer_comes_back_whole_and_its_request_was_signed(name: str) -> None:
    async with served([TURN]) as (server, client):
        model = BedrockModel.from_env(name, client, {**KEYS, "AWS_ENDPOINT_URL": server.origin})
        message = await outcome(model)
        (asked,) = server.requests
        server.verify()
    assert message.parts[:3] == (Thinking("hm", "c2ln"), Thinking("", redacted="c2VjcmV0"), Text("Hello wörld"))
    assert [(call.id, call.name, call.arguments) for call in message.calls] == [
        ("call_0_0", "f", '{"x":1}'),
        ("call-2", "g", "{}"),
    ]
    assert (message.stop, message.usage) == ("tool_calls", Usage(100, 20, 40, 10))
    assert asked.model == name
    assert asked.headers["authorization"].endswith("=" + signature_of(asked, SECRET))
    assert "/eu-west-1/bedrock/aws4_request" in asked.headers["authorization"]


async def test_the_official_client_reads_what_the_scripted_server_says_and_signs_alike() -> None:
    async with served([TURN]) as (server, _):

        def ask() -> tuple[list[Any], Any]:
            client: Any = boto3.client(  # type: ignore[reportUnknownMemberType]
                "bedrock-runtime",
                region_name="eu-west-1",
                endpoint_url=server.origin,
                aws_access_key_id="AKIDEXAMPLE",
                aws_secret_access_key=SECRET,
            )
            asked: Any = {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
            events, whole = list(client.converse_stream(**asked)["stream"]), client.converse(**asked)
            client.close()
            return events, whole

        events, whole = await asyncio.to_thread(ask)
        server.verify()
        assert server.requests[0].headers["authorization"].endswith(signature_of(server.requests[0], SECRET))
    said = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert "".join(delta.get("text", "") for delta in said) == "Hello wörld"
    content = whole["output"]["message"]["content"]
    assert [next(iter(block)) for block in content] == ["reasoningContent", "reasoningContent", "text"] + [
        "toolUse"
    ] * 2


async def test_the_official_client_knows_the_errors_of_the_scripted_server() -> None:
    script = [Turn("ok", fault=[Status(status=429, times=1), StreamError(type="throttlingException", times=1)])]
    async with served(script) as (server, _):

        def ask() -> list[str]:
            client: Any = boto3.client(  # type: ignore[reportUnknownMemberType]
                "bedrock-runtime",
                region_name="eu-west-1",
                endpoint_url=server.origin,
                aws_access_key_id="AKIDEXAMPLE",
                aws_secret_access_key=SECRET,
                config=Config(retries={"total_max_attempts": 1}),
            )
            found: list[str] = []
            for _ in range(2):
                try:
                    messages = [{"role": "user", "content": [{"text": "hi"}]}]
                    with closing(client.converse_stream(modelId="m", messages=messages)["stream"]) as stream:
                        list(stream)
                except ClientError as error:  # an error of a stream is one, too
                    found.append(error.response["Error"]["Code"])
            client.close()
            return found

        assert await asyncio.to_thread(ask) == ["ThrottlingException", "throttlingException"]


@pytest.mark.requirement("bedrock:environment")
@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"AWS_REGION": "us-east-1"}, "https://bedrock-runtime.us-east-1.amazonaws.com"),
        ({"AWS_REGION": " ", "AWS_DEFAULT_REGION": "x-1"}, "https://bedrock-runtime.x-1.amazonaws.com"),
        ({"AWS_REGION": "a-1", "AWS_DEFAULT_REGION": "b-1"}, "https://bedrock-runtime.a-1.amazonaws.com"),
        ({"AWS_REGION": "cn-north-1"}, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ({"AWS_REGION": "a-1", "AWS_USE_FIPS_ENDPOINT": "true"}, "https://bedrock-runtime-fips.a-1.amazonaws.com"),
        ({"AWS_REGION": "a-1", "AWS_ENDPOINT_URL": "http://x/"}, "http://x"),
        (
            {"AWS_REGION": "a-1", "AWS_ENDPOINT_URL": "http://x", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://y/z"},
            "http://y/z",
        ),
        (
            {"AWS_REGION": "a-1", "AWS_ENDPOINT_URL": "http://x", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "https://bedrock-runtime.a-1.amazonaws.com",
        ),
    ],
)
async def test_the_environment_says_where_a_request_goes(env: Mapping[str, str], url: str) -> None:
    async with HttpClient(TRUSTED) as client:
        model = BedrockModel.from_env("m", client, {**KEYS, "AWS_REGION": "", **env})
        assert await model._prepared(ASKED, b"{}") == f"{url}/model/m/converse-stream"


@pytest.mark.requirement("bedrock:profile")
async def test_a_profile_says_region_address_and_credentials(tmp_path: Path) -> None:
    async with served(lambda _: "ok") as (server, client):
        (tmp_path / "config").write_text(
            f"[profile work]\nregion = eu-north-1\nservices = local\nendpoint_url = http://127.0.0.1:9\n"
            f"[services local]\nbedrock_runtime =\n  endpoint_url = {server.origin}\n"
        )
        (tmp_path / "credentials").write_text("[work]\naws_access_key_id = AKFILE\naws_secret_access_key = s\n")
        await outcome(BedrockModel.from_env("m", client, {"AWS_PROFILE": "work"}))
        (asked,) = server.requests
        with pytest.raises(AuthFailed, match="nobody"):
            await outcome(BedrockModel.from_env("m", client, {"AWS_PROFILE": "nobody"}))
    assert signed_with(asked) == "AKFILE"
    assert "/eu-north-1/" in asked.headers["authorization"]
    assert asked.headers["authorization"].endswith(signature_of(asked, "s"))


@pytest.mark.requirement("bedrock:credentials-renewed")
async def test_credentials_that_expire_are_renewed_before_they_do_and_shared_by_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_loop: list[bool] = []
    ask: Any = ProcessProvider._retrieve_credentials_using

    def watched(provider: Any, command: str) -> Any:
        in_loop.append(threading.current_thread() is threading.main_thread())
        return ask(provider, command)

    monkeypatch.setattr(ProcessProvider, "_retrieve_credentials_using", watched)
    passed, left = [0.0], RefreshableCredentials._seconds_remaining  # type: ignore[reportUnknownMemberType]
    monkeypatch.setattr(RefreshableCredentials, "_seconds_remaining", lambda self: left(self) - passed[0])
    program, count = tmp_path / "give.py", tmp_path / "count"
    soon_over = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    later = (datetime.now(UTC) + timedelta(hours=9)).isoformat()
    program.write_text(
        "import json, pathlib\n"
        f"path = pathlib.Path({str(count)!r})\n"
        "number = len(path.read_text()) if path.exists() else 0\n"
        "path.write_text('x' * (number + 1))\n"
        f"until = {soon_over!r} if number == 0 else {later!r}\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'AK{number}', 'SecretAccessKey': 's',"
        " 'SessionToken': f'token{number}', 'Expiration': until}))\n"
    )
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    async with served(lambda _: "ok") as (server, client):
        env = {"AWS_REGION": "a-1", "AWS_ENDPOINT_URL": server.origin}
        first = BedrockModel.from_env("m", client, env)
        for model in (first, first.fresh(), BedrockModel.from_env("other", client, env)):
            await outcome(model)
        assert in_loop == [False], "asked for once"
        passed[0] = 20 * 60
        for model in (first, first.fresh(), BedrockModel.from_env("other", client, env)):
            await outcome(model)
        keys = [signed_with(exchange) for exchange in server.requests]
        tokens = [exchange.headers["x-amz-security-token"] for exchange in server.requests]
    assert in_loop == [False, False], "and once more when they were about to expire, never in the event loop"
    assert keys == ["AK0"] * 3 + ["AK1"] * 3
    assert [key.replace("AK", "token") for key in keys] == tokens


@pytest.mark.requirement("bedrock:credentials-renewed")
async def test_credentials_that_are_refused_are_looked_for_again(tmp_path: Path) -> None:
    def write(key: str) -> None:
        (tmp_path / "credentials").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")

    write("OLD")
    script = [Turn("ok", fault=Status(status=403, type="ExpiredTokenException", message="expired", times=1))]
    async with served(script) as (server, client):
        env = {"AWS_REGION": "a-1", "AWS_ENDPOINT_URL": server.origin}
        model = BedrockModel.from_env("m", client, env)
        with pytest.raises(AuthFailed, match="expired"):
            await outcome(model)
        write("NEW")
        assert (await outcome(model.fresh())).text == "ok"
        assert [signed_with(exchange) for exchange in server.requests] == ["OLD", "NEW"]


@pytest.mark.requirement("bedrock:library-errors-mapped")
async def test_a_role_that_may_not_be_taken_is_refused_credentials_and_no_error_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not for you</Message></Error></ErrorResponse>"

    async def refuse(_: Request, writer: asyncio.StreamWriter, __: Server) -> None:
        writer.write(answer(said, "403 Forbidden", "Content-Type: text/xml\r\n"))

    (tmp_path / "credentials").write_text("[base]\naws_access_key_id = K\naws_secret_access_key = s\n")
    (tmp_path / "config").write_text(
        "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\nregion = a-1\n"
    )
    async with serving(refuse) as tokens, served(lambda _: "ok") as (server, client):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.url)
        env = {"AWS_REGION": "a-1", "AWS_ENDPOINT_URL": server.origin, "AWS_PROFILE": "role"}
        with pytest.raises(AuthFailed, match="not for you"):
            await outcome(BedrockModel.from_env("m", client, env))
        assert not server.requests


@pytest.mark.requirement("bedrock:no-made-up-key")
async def test_without_credentials_nothing_is_sent_and_the_variables_are_named() -> None:
    async with served(lambda _: "ok") as (server, client):
        env = {"AWS_REGION": "a-1", "AWS_ENDPOINT_URL": server.origin}
        with pytest.raises(AuthFailed, match="AWS_ACCESS_KEY_ID"):
            await outcome(BedrockModel.from_env("m", client, env))
        with pytest.raises(InvalidRequest, match="AWS_REGION"):
            await outcome(BedrockModel.from_env("m", client, {**KEYS, "AWS_REGION": ""}))
        with pytest.raises(InvalidRequest, match="no region"):
            await outcome(BedrockModel.from_env("m", client, {**KEYS, "AWS_REGION": "evil.example/x?"}))
        assert server.requests == ()


@pytest.mark.requirement("bedrock:bearer")
async def test_a_key_of_bedrock_is_sent_as_it_is_and_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bedrock, "is_installed", lambda: False)
    async with served(lambda _: "ok") as (server, client):
        env = {**KEYS, "AWS_BEARER_TOKEN_BEDROCK": "token", "AWS_ENDPOINT_URL": server.origin}
        await outcome(BedrockModel.from_env("m", client, env))
        (asked,) = server.requests
        assert asked.headers["authorization"] == "Bearer token"
        assert "x-amz-date" not in asked.headers
        with pytest.raises(AuthFailed, match=r"holdfast\[bedrock\]"):
            await outcome(BedrockModel.from_env("m", client, KEYS))


@pytest.mark.requirement("bedrock:loaded-when-used")
def test_the_library_is_loaded_only_when_something_is_signed() -> None:
    code = "import sys, holdfast.models.providers.bedrock; assert 'botocore' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


FAULTS: list[tuple[Fault, type[ModelError]]] = [
    (Reset(), ConnectionFailed),
    (Reset(after_events=2), ConnectionFailed),
    (Cut(after_bytes=150), ConnectionFailed),
    (Unfinished(), ConnectionFailed),
    (Hang(after_events=1), ModelTimeout),
    (MalformedEvent(), Malformed),
    (StreamError(type="throttlingException"), RateLimited),
    (StreamError(type="serviceUnavailableException"), Overloaded),
    (Empty(), Malformed),
    (WrongType(), Malformed),
    (GzipBomb(megabytes=16), Malformed),
    (Status(status=400, message="Input is too long for requested model."), ContextOverflow),
    (Status(status=403), AuthFailed),
    (Status(status=404), InvalidRequest),
    (Status(status=424), ServerError),
    (Status(status=429), RateLimited),
    (Status(status=500), ServerError),
    (Status(status=503), Overloaded),
]


@pytest.mark.requirement("bedrock:errors-by-status", "bedrock:hostile-answers")
@pytest.mark.parametrize(("fault", "error"), FAULTS, ids=lambda value: getattr(value, "__name__", str(value)[:40]))
async def test_each_fault_is_one_clear_error(fault: Fault, error: type[ModelError]) -> None:
    async with served([Turn("Hello there", chunk=3, fault=fault)], silence=0.2) as (server, client):
        model = BedrockModel("m", client, env=KEYS, url=server.origin, region="a-1", max_chars=1 << 20)
        with pytest.raises(error) as caught:
            await outcome(model)
    assert str(caught.value).startswith("'bedrock/m': ")
    assert SECRET not in str(caught.value)


@pytest.mark.requirement("bedrock:usage")
async def test_an_answer_whose_usage_was_cut_off_is_whole_and_bounded_from_above() -> None:
    async with served([Turn("Hello there", fault=Truncated())]) as (server, client):
        message = await outcome(BedrockModel("m", client, env=KEYS, url=server.origin, region="a-1"))
    assert message.text == "Hello there"
    assert message.usage.input_tokens >= len("Be kind.hi")


async def test_a_slow_answer_is_whole() -> None:
    async with served([Turn("Hello", fault=Drip(seconds=0.0, bytes=7))]) as (server, client):
        model = BedrockModel("m", client, env=KEYS, url=server.origin, region="a-1")
        assert (await outcome(model)).text == "Hello"


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@pytest.mark.requirement("bedrock:provider-end-to-end", "bedrock:reasoning-given-back")
async def test_a_run_calls_its_tools_and_gives_back_what_the_model_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})]
    script = [Turn(thinking="hm", signature="c2ln", redacted="eA==", calls=calls), "3 and 7"]
    async with scene(script) as s:
        for variable, value in {**KEYS, "AWS_ENDPOINT_URL": s.server.origin}.items():
            monkeypatch.setenv(variable, value)
        agent = Agent(f"bedrock/{MODEL}", instructions="Add.", tools=[add])
        run = await s.runtime.start(agent, "go", session="s")
        assert (await soon(run.result())).output == "3 and 7"
        s.server.verify()
        messages = json.loads(s.server.requests[1].body)["messages"]
    assert [turn["role"] for turn in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"][:2] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "eA=="}},
    ]
    results = [block["toolResult"]["content"] for block in messages[2]["content"][:2]]
    assert results == [[{"text": "3"}], [{"text": "7"}]]
