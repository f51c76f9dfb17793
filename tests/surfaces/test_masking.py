"""What looks like a secret is masked where a person is asked about a call or reads a log: all of Orloj's patterns."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from tests.running import scene, soon
from tests.surfaces.chatting import chatting
from tests.surfaces.commands import Shell, bash, shell
from tests.surfaces.test_approve import asking, result
from tests.surfaces.test_screen import on_terminal, plain
from tests.surfaces.watching import job, watching

from holdfast.cli.asking.card import approval_card
from holdfast.cli.hiding.masking import masked_data, masked_line
from holdfast.testing import Turn
from holdfast.types import CallId, Digest, ToolCall, Wait

SECRETS = (
    "Authorization: Basic canary1x, 'X-Api-Key: canary2x' Bearer canary3x ?api_key=canary4x&client_secret=canary5x"
    "&password=canary6x&token=canary7x sk-canary8xcanary8x api-key: canary9x"
)
"""A word for each pattern."""
LINE = f'echo "{SECRETS}" > kept; cat kept'
TURNS = [bash(LINE), Turn(text="Over.")]
CANARY = re.compile(r"canary\d")


def is_masked(text: str) -> None:
    """Fails where one of the words is in a text, or none was taken out."""
    assert CANARY.findall(text) == [], text
    assert "[REDACTED]" in text, text


@pytest.mark.requirement("safety:redaction-patterns")
def test_the_card_of_a_call_and_what_it_prints_are_masked_on_the_screen_of_a_run(tmp_path: Path) -> None:
    with (
        shell(tmp_path, TURNS) as sh,
        on_terminal(sh, "run", "go", HOLDFAST_MODE="", COLUMNS="300") as (terminal, process),
    ):
        terminal.until(r"allow bash\?[\s\S]*y once")
        terminal.press("y")
        terminal.until("y again allows it")  # not all of it was shown
        terminal.press("y")
        screen = plain(terminal.rest())
        assert process.wait(10) == 0
    is_masked(screen)
    assert "canary6x" in (tmp_path / "kept").read_text(), "what is done is what was asked for"


@pytest.mark.requirement("safety:redaction-patterns")
def test_what_is_asked_is_masked_in_every_form_of_approve(tmp_path: Path) -> None:
    with shell(tmp_path, TURNS) as sh, asking(sh) as process:
        [found] = json.loads(sh.run("approve", "list", "-o", "json").stdout)
        for arguments in (("list",), ("show", found["id"])):
            is_masked(sh.run("approve", *arguments).stdout)
            data = sh.run("approve", *arguments, "-o", "json").stdout
            is_masked(data)
        assert found["token"].startswith("approval:"), "what an answer is known by is no secret"
        assert sh.run("approve", "yes", found["id"]).returncode == 0
        assert result(process)["status"] == "completed"


@pytest.mark.requirement("safety:redaction-patterns")
def test_a_call_that_a_talk_asks_about_is_masked(tmp_path: Path) -> None:
    with shell(tmp_path, TURNS) as sh, chatting(sh, columns=200) as person:
        person.says("Go")
        is_masked(person.sees(r"allow bash\?[\s\S]*y once"))
        person.types("\x1by")
        person.types("\x1by")
        is_masked(person.sees(r"Over\."))


@pytest.mark.requirement("safety:redaction-patterns", "toolscli:masked-data")
def test_what_is_read_in_a_log_is_masked_and_what_a_program_reads_is_as_it_was_written(tmp_path: Path) -> None:
    with shell(tmp_path, TURNS) as sh:
        done = sh.run("run", f"go on with {SECRETS}", "-s", "one")
        is_masked(done.stdout)
        is_masked(sh.run("runs", "list").stdout)
        shown = sh.run("runs", "show", "one", COLUMNS="900").stdout
        is_masked(shown)
        assert shown.count("[REDACTED]") >= 18, "nine words of the prompt, and of the call"
        events = [json.loads(line) for line in sh.run("runs", "show", "one", "-o", "jsonl").stdout.splitlines()]
        for event in events:
            one = sh.run("runs", "show", "one", "--event", str(event["seq"])).stdout
            assert CANARY.findall(one) == [], one
            if CANARY.search(json.dumps(event)):
                is_masked(one)
        assert sum(bool(CANARY.search(json.dumps(event))) for event in events) >= 3


@pytest.mark.requirement("safety:redaction-patterns")
async def test_what_is_watched_is_masked_line_by_line_and_event_by_event(tmp_path: Path) -> None:
    async with scene({"scripted": TURNS}, seconds=60) as s:
        run = await job(s, tmp_path / "w", mode="ask", prompt=f"go on with {SECRETS}")
        async with watching(s.runtime, columns=240) as viewer:
            is_masked(await viewer.sees("allow bash"))
            await viewer.is_asked("bash")
            await viewer.presses("y")
            await soon(run.result())
            await viewer.ends("completed")
            for event in await s.log():
                await viewer.presses("up")
                assert CANARY.findall(viewer.screen) == [], event
            is_masked(viewer.screen)


@pytest.mark.requirement("safety:redaction-patterns")
def test_an_error_line_is_masked(tmp_path: Path) -> None:
    done = Shell(tmp_path).run("runs", "show", "token=canary7x")
    is_masked(done.stderr)


@pytest.mark.requirement("safety:redaction-patterns")
def test_all_of_a_text_goes_that_stands_under_the_name_of_a_secret() -> None:
    data = {"password": "two words", "list": [{"api_key": 'a"b'}, "Bearer x"], "max_tokens": 5, "token": ""}
    assert masked_data(data) == {
        "password": "[REDACTED]",
        "list": [{"api_key": "[REDACTED]"}, "Bearer [REDACTED]"],
        "max_tokens": 5,
        "token": "",
    }


@pytest.mark.requirement("safety:redaction-patterns")
def test_a_card_that_hides_something_wants_its_yes_twice() -> None:
    def whole(arguments: str) -> bool:
        call = ToolCall(CallId("c"), "bash", arguments)
        return approval_card(call, Wait("approval:1/c", "approval", prompt="bash", digest=Digest("d"))).whole

    assert whole('{"command": "ls"}')
    assert not whole('{"command": "curl -H \\"Authorization: Bearer abc\\""}')
    assert not whole('{"command": "ls", "password": "abc"}')
    assert not whole("token=abc no JSON")


@pytest.mark.requirement("safety:redaction-patterns")
@pytest.mark.parametrize("whole", [False, True])
def test_a_card_that_hides_something_says_where_it_can_be_read(whole: bool) -> None:
    """A command could be worded like a secret, and be run by who did not see it."""

    def shown(command: str) -> str:
        call = ToolCall(CallId("c"), "bash", json.dumps({"command": command}))
        wait = Wait("approval:1/c", "approval", prompt="bash", digest=Digest("d"))
        console = Console(width=100, file=io.StringIO(), record=True)
        console.print(approval_card(call, wait, whole=whole))
        return console.export_text()

    assert "runs show SESSION -o jsonl" in shown("echo token=`reboot`")
    assert "jsonl" not in shown("echo `reboot`")


@pytest.mark.requirement("safety:redaction-patterns")
def test_a_masked_line_keeps_the_colours_of_what_stays() -> None:
    line = Text.assemble(("bash ", "bold"), "x token=abc y ", ("end", "dim"))
    found = masked_line(line)
    assert found.plain == "bash x token=[REDACTED] y end"
    assert [(span.start, span.end, span.style) for span in found.spans] == [(0, 5, "bold"), (26, 29, "dim")]
    assert masked_line(Text("nothing of it")).plain == "nothing of it"
