"""`holdfast stub` as a person and a shell see it."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from click.testing import CliRunner
from tests.surfaces.commands import Shell

from holdfast.cli.stub import stub
from holdfast.models.embedding.hashing import HashingEmbedder
from holdfast.models.embedding.port import EmbedRequest
from holdfast.models.embedding.vectors import similarity
from holdfast.models.providers.table import TABLE
from holdfast.testing.doors import doors
from holdfast.testing.protocols import PROTOCOLS

RUN = "from holdfast.cli.stub import stub; stub()"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.yaml"
    path.write_text(
        "turns:\n"
        "  - {text: First., fault: {kind: status, status: 429, retry_after: 0, times: 1}}\n"
        "  - {calls: [{name: add, arguments: {a: 1}}]}\n"
    )
    return path


@contextmanager
def running(*arguments: str) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        watchdog = threading.Timer(20, process.kill)  # a silent program must not hang the test
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def say(base_url: str, prompt: str = "go", retries: int = 1) -> str | None:
    with openai.OpenAI(base_url=base_url, api_key="anything", max_retries=retries, timeout=5) as client:
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content


@pytest.mark.requirement("testing:stub-command")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_fixture_says_where_logs_each_request_and_ends_with_the_account(
    script: Path, number: signal.Signals
) -> None:
    with running(str(script)) as process:
        url = line(process).removeprefix("listening on ")
        assert url.startswith("http://127.0.0.1:")
        exports = [line(process) for _ in range(7)]
        assert exports[0].startswith(f"export OPENAI_BASE_URL={url} OPENAI_API_KEY=anything  # openai/…, ")
        assert line(process) == "script scripted: 2 turns"
        assert say(url) == "First."
        assert line(process) == "1 POST /v1/chat/completions m 429 fault=status turn 1: 'First.'"
        assert line(process) == "2 POST /v1/chat/completions m 200 turn 1: 'First.'"
        process.send_signal(number)
        out, error = process.communicate(timeout=5)
        assert process.returncode == 0
    assert out == "2 requests of 1 run\nunconsumed: run 'go' never got of script 'scripted' turn 2 (add)\n"
    assert error == ""


@pytest.mark.requirement("newcomers:stub-wires")
def test_with_the_variables_it_prints_models_of_every_protocol_answer(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text("turns: [{text: Yes.}]\n")
    sh = Shell(tmp_path)
    with running(str(path)) as process:
        assert line(process).startswith("listening on ")
        names: list[str] = []
        while not (said := line(process)).startswith("script "):
            assert subprocess.run(["sh", "-c", said], check=False).returncode == 0, "it can be pasted"
            sh.environment |= dict(each.split("=", 1) for each in said.partition("  #")[0].split()[1:])
            names += re.findall(r"([\w-]+)/…", said)
        asked = sh.run("models", "check", *(f"{name}/m" for name in names), "-o", "json")
        assert (asked.returncode, json.loads(asked.stdout)["ok"]) == (0, True)
        assert {"openai", "openai-responses", "anthropic", "google", "cohere", "ollama", "bedrock"} < set(names)
        served = [line(process) for _ in names]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
    paths = {each.split()[2].partition("?")[0] for each in served}
    assert len(paths) == len(names), "each has a path of its own"
    assert all(each.endswith("200 turn 1: 'Yes.'") for each in served)


@pytest.mark.requirement("newcomers:stub-wires")
def test_every_protocol_of_the_server_is_served_by_one_of_the_doors_and_no_other() -> None:
    shown = {wire for door in doors("http://h") for wire in door.wires}
    assert shown == {*PROTOCOLS, "embeddings"}
    assert [each for door in doors("http://h") for each in door.providers if each not in TABLE] == []


@pytest.mark.requirement("newcomers:stub-wires")
def test_embeddings_are_those_of_the_hashing_embedder_whoever_asks_and_in_either_form(script: Path) -> None:
    texts = ["a bolt", "two bolts", "pears"]
    with running(str(script), "-o", "json") as process:
        started = json.loads(line(process))
        assert started["doors"][0]["wires"] == ["chat", "responses", "embeddings"]
        with openai.OpenAI(base_url=started["base_url"], api_key="x", max_retries=0) as client:
            known = client.embeddings.create(model="text-embedding-3-small", input=texts)
            plain = client.embeddings.create(model="m", input="a bolt", dimensions=64, encoding_format="float")
            again = client.embeddings.create(model="m", input=["a bolt", "pears"], dimensions=64)
            for wrong in ({"input": [1, 2]}, {"input": []}, {"input": ""}, {"input": "x", "dimensions": 1}):
                with pytest.raises(openai.BadRequestError):
                    client.embeddings.create(model="m", **wrong)  # type: ignore[arg-type]
        logged = [json.loads(line(process)) for _ in range(7)]
        process.send_signal(signal.SIGINT)
        stopped = json.loads(process.communicate(timeout=5)[0])
    one, other, far = [each.embedding for each in known.data]
    assert len(one) == 1536
    assert similarity(one, other) > 0.3 > similarity(one, far)
    assert plain.data[0].embedding == pytest.approx(again.data[0].embedding)
    own = asyncio.run(HashingEmbedder(64).embed(EmbedRequest(texts=["a bolt"]))).embeddings[0]
    assert plain.data[0].embedding == pytest.approx(list(own.values))
    assert known.usage.prompt_tokens == 2 + 3 + 2
    assert [(each["label"], each["model"]) for each in logged[:2]] == [
        ("3 vectors", "text-embedding-3-small"),
        ("1 vector", "m"),
    ]
    assert len(stopped["unexpected"]) == 4, "what was refused is told, and vectors are none of that"


@pytest.mark.requirement("testing:stub-command")
def test_strict_exits_with_1_and_no_log_keeps_quiet_when_requests_and_turns_did_not_match(script: Path) -> None:
    with running(str(script), "--strict", "--no-log") as process:
        url = line(process).removeprefix("listening on ")
        assert say(url) == "First."
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=5)
        assert process.returncode == 1
    assert out.splitlines()[-2] == "2 requests of 1 run"
    assert "POST" not in out


@pytest.mark.requirement("testing:stub-command")
def test_json_prints_an_object_a_line_and_neither_keys_nor_bodies(script: Path) -> None:
    with running(str(script), "-o", "json") as process:
        started = json.loads(line(process))
        assert started["event"] == "listening"
        assert started["scripts"] == {"scripted": 2}
        say(started["base_url"], "a secret prompt" * 10)
        faulted, answered = json.loads(line(process)), json.loads(line(process))
        assert (faulted["fault"], faulted["status"], answered["turn"]) == ("status", 429, 0)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=5)
    stopped = json.loads(out)
    assert (stopped["event"], stopped["clean"], stopped["requests"]) == ("stopped", False, 2)
    assert stopped["unconsumed"][0]["turns"] == [1]
    assert not {"headers", "body"} & set(answered)


@pytest.mark.requirement("testing:stub-command")
def test_a_clients_words_do_not_reach_the_terminal_as_control_sequences(script: Path) -> None:
    with running(str(script)) as process:
        url = line(process).removeprefix("listening on ")
        while not line(process).startswith("script "):
            pass
        with openai.OpenAI(base_url=url, api_key="x", max_retries=1) as client:
            client.chat.completions.create(model="\x1b[2Jm\n", messages=[{"role": "user", "content": "\x1b]0;x\x07"}])
        line(process)
        assert line(process) == "2 POST /v1/chat/completions \ufffd[2Jm\ufffd 200 turn 1: 'First.'"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=5)
    assert "\x1b" not in out


@pytest.mark.requirement("testing:stub-loopback")
def test_an_address_others_can_reach_is_refused_unless_it_is_asked_for(script: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        refused = CliRunner().invoke(stub, [str(script), "--host", host])
        assert refused.exit_code == 2
        assert f"{host!r} can be reached from other machines" in " ".join(refused.output.split())
    with running(str(script), "--host", "0.0.0.0", "--expose") as process:
        assert line(process).startswith("listening on http://0.0.0.0:")


@pytest.mark.requirement("testing:stub-command")
def test_a_bad_script_and_a_taken_port_are_errors_that_say_what_to_do(script: Path, tmp_path: Path) -> None:
    missing = CliRunner().invoke(stub, [str(tmp_path / "none.yaml")])
    assert missing.exit_code == 2
    assert "cannot read the script" in missing.output
    script.write_text("turns: [{txt: hi}]")
    wrong = CliRunner().invoke(stub, [str(script)])
    assert wrong.exit_code == 2
    assert "$.turns[0]" in wrong.output
    script.write_text("turns: [{text: hi}]")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        clash = CliRunner().invoke(stub, [str(script), "--port", str(taken.getsockname()[1])])
    assert clash.exit_code == 1
    assert "choose another --port" in " ".join(clash.output.split())


@pytest.mark.requirement("testing:stub-command")
def test_on_a_terminal_it_draws_and_the_addresses_can_be_copied(script: Path) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(script), "--port", "0"], stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        watchdog = threading.Timer(20, process.kill)
        watchdog.start()
        screen = ""
        try:
            while "Ctrl-C" not in screen:
                screen += os.read(ours, 65536).decode()
            url = screen.partition("export OPENAI_BASE_URL=")[2].split()[0]
            assert say(url) == "First."
            while "turn 1: 'First.'" not in screen.partition("200")[2]:
                screen += os.read(ours, 65536).decode()
            process.send_signal(signal.SIGINT)
            while "turn 2 (add)" not in screen:
                screen += os.read(ours, 65536).decode()
            assert process.wait(5) == 0
        finally:
            watchdog.cancel()
            process.kill()
            os.close(ours)
    assert "\x1b[" in screen
    assert "Scripted model server" in screen
