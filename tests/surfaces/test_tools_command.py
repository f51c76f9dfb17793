"""`holdfast tools list|describe|call`: what tools there are, what they say of themselves, and one call by hand."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from pathlib import Path

import pytest
from tests.surfaces.commands import BOUND, Shell, await_line
from tests.surfaces.test_screen import on_terminal, plain

from holdfast.sandbox.snippets import building

SHOP = '''
from typing import Literal

from holdfast import Agent, tool
from holdfast.types import Governance


@tool(effect="keyed", governance=Governance(risk="high", capabilities=("money",)), timeout=5)
async def pay(amount: float, to: str, tags: list[str] = [], how: Literal["card", "cash"] = "card") -> str:
    """Pays somebody. For good.

    Args:
        amount: how much.
        to: whom.
    """
    return f"paid {amount} to {to} {tags} {how}"


@tool(effect="none")
def upper(text: str) -> str:
    """Gives a text in capitals."""
    return text.upper()


@tool(effect="none")
def fails() -> str:
    """Fails."""
    raise RuntimeError("it broke")


seller = Agent("openai/x", tools=[pay, upper], name="seller")
'''
ASKS = {"HOLDFAST_MODE": "ask"}


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    (tmp_path / "shop.py").write_text(SHOP)
    return Shell(tmp_path)


@pytest.mark.requirement("toolscli:list")
def test_the_list_says_what_each_built_in_tool_changes_and_does(sh: Shell) -> None:
    done = sh.run("tools", "list")
    rows = {line.split()[0]: line.split(maxsplit=4)[1:] for line in done.stdout.splitlines() if line}
    assert rows["write"][:3] == ["files", "process", "low"]
    assert rows["fetch"][:2] == ["sends", "process"]
    assert rows["python"][1:3] == ["sandbox", "medium"]
    assert "by call" in next(line for line in done.stdout.splitlines() if line.startswith("bash "))
    assert json.loads(sh.run("tools", "list", "read", "-o", "json").stdout)[0]["reference"] == "builtin:read"


@pytest.mark.requirement("toolscli:list")
def test_tools_of_a_module_in_this_folder_are_listed_all_or_one(sh: Shell) -> None:
    assert [each["name"] for each in json.loads(sh.run("tools", "list", "shop:", "-o", "json").stdout)] == [
        "pay",
        "upper",
        "fails",
    ]
    done = sh.run("tools", "list", "shop:pay", "read")
    assert [line.split()[:4] for line in done.stdout.splitlines()[1:3]] == [
        ["pay", "keyed", "sandbox", "high"],
        ["read", "nothing", "process", "low"],
    ]


@pytest.mark.requirement("toolscli:list", "toolscli:describe")
@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("raed", "did you mean 'read'?"),
        ("shop:gone", "has no function 'gone'"),
        ("nowhere:x", "there is no module 'nowhere'"),
        ("broken:x", "SyntaxError"),
        ("shop:seller", "seller"),
    ],
)
def test_what_is_no_tool_is_refused_with_what_to_write(sh: Shell, reference: str, said: str) -> None:
    (sh.home / "broken.py").write_text("def x(:\n")
    done = sh.run("tools", "describe", reference)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert sh.run("tools", "list", reference).returncode == 2


GUARD = 'below `if __name__ == "__main__":`'


@pytest.mark.requirement("toolscli:list", "toolscli:describe", "toolscli:call", "toolscli:test")
@pytest.mark.parametrize(
    ("source", "said", "advice"),
    [
        ("def x(:", "own.py:1: SyntaxError: ", "mend it there"),
        ("\nimport not_there_at_all", "own.py:2: ModuleNotFoundError: ", "install 'not_there_at_all'"),
        ("from shop import gone", "own.py:1: ImportError: cannot import name 'gone'", "mend it there"),
        ("import other", "other.py:1: ZeroDivisionError: ", "mend it there"),
        ("\nopen('/no/such/file')", "own.py:2: FileNotFoundError: ", "mend it there"),
        ("class Own(BaseException): pass\nraise Own('a\\nb')", "own.py:2: Own: a b", "mend it there"),
        ("import sys\nsys.exit(3)", "own.py:2: it ends the program (SystemExit: 3)", GUARD),
        ("import asyncio\nasync def go():\n  1/0\nasyncio.run(go())", "own.py:3: ZeroDivisionError: ", GUARD),
        ("from holdfast import tool\n@tool\ndef f(a: object()): ...", "own.py:2: ", "mend it there"),
    ],
)
def test_a_module_that_fails_when_it_is_imported_is_told_with_its_line_and_what_to_do(
    sh: Shell, source: str, said: str, advice: str
) -> None:
    (sh.home / "own.py").write_text(f"{source}\n")
    (sh.home / "other.py").write_text("1 / 0\n")
    (sh.home / "f.yaml").write_text("- name: a\n")
    for line in (("list", "own:"), ("describe", "own:f"), ("call", "own:f"), ("test", "own:f", "f.yaml")):
        done = sh.run("tools", *line)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 2), done.stderr
        what, do = done.stderr.splitlines()
        assert f"cannot be imported: {said}" in what
        assert do.startswith("→ ")
        assert advice in do


@pytest.mark.requirement("toolscli:list", "toolscli:call")
@pytest.mark.parametrize("target", ["127.0.0.1:8765", "localhost:80/x", "[::1]:80", "http://a.example", "10.0.0.1"])
def test_an_address_is_no_tool_and_is_told_what_tries_it(sh: Shell, target: str) -> None:
    whole = target if "://" in target else f"http://{target}"
    for command in ("list", "describe", "call"):
        done = sh.run("tools", command, target)
        assert (done.returncode, f"holdfast tools test {whole} " in done.stderr) == (2, True), done.stderr


@pytest.mark.requirement("toolscli:list")
def test_a_list_that_goes_to_a_pipe_has_a_line_for_each_tool_that_is_cut_between_words(sh: Shell) -> None:
    (sh.home / "long.py").write_text(
        'from holdfast import tool\n\n\n@tool\ndef f() -> str:\n    """' + "word " * 90 + '\n\n    More."""\n'
    )
    line = sh.run("tools", "list", "long:").stdout.splitlines()[1]
    assert line.endswith(" word word …")
    assert len(line) < 150


@pytest.mark.requirement("toolscli:describe")
def test_a_tool_is_described_with_its_parameters_its_rules_and_its_place(sh: Shell) -> None:
    done = sh.run("tools", "describe", "shop:pay")
    said = " ".join(done.stdout.split())
    for words in (
        "Pays somebody. For good.",
        "shop:pay (shop.py:8)",
        "once for each call however often it is made",
        "inside, what it starts runs in the sandbox",
        "high; counts as write",
        "capability:money",
        "5 s; 50,000 characters",
        "amount number required how much.",
        "tags list of string = []",
        'how card | cash = "card"',
    ):
        assert words in said, said
    data = json.loads(sh.run("tools", "describe", "shop:pay", "-o", "json").stdout)
    assert (data["effect"]["outside"], data["governance"]["risk"], data["timeout"]) == ("keyed", "high", 5)
    assert data["parameters"]["required"] == ["amount", "to"]


@pytest.mark.requirement("toolscli:call")
@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (["upper", "text=12"], "", "12\n"),
        (["upper", "text=a=b"], "", "A=B\n"),
        (["upper", '{"text": "x"}'], "", "X\n"),
        (["upper", "-"], '{"text": "from a pipe"}', "FROM A PIPE\n"),
        (["pay", "amount=2.5", "to=7", 'tags=["a", "b"]'], "", "paid 2.5 to 7 ['a', 'b'] card\n"),
    ],
)
def test_arguments_are_json_or_names_with_values_and_the_result_is_printed(
    sh: Shell, arguments: list[str], given: str, said: str
) -> None:
    done = sh.run("tools", "call", f"shop:{arguments[0]}", *arguments[1:], given=given)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@pytest.mark.requirement("toolscli:call")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["shop:upper", "txt=1"], 2, "did you mean 'text'?"),
        (["shop:upper", "text=1", "text=2"], 2, "is given twice"),
        (["shop:upper", "text"], 2, "write name=value"),
        (["shop:upper", '{"text": 1'], 2, "no JSON object"),
        (["shop:upper"], 2, "text is missing"),
        (["shop:pay", "amount=much", "to=x"], 2, "amount wants a number, not 'much'"),
        (["shop:fails"], 1, "RuntimeError: it broke"),
        (["question", '{"questions": [{"question": "a?", "header": "h"}]}'], 1, "Nobody can be asked"),
    ],
)
def test_an_error_goes_to_standard_error_and_its_exit_code_says_whose_it_is(
    sh: Shell, arguments: list[str], code: int, said: str
) -> None:
    done = sh.run("tools", "call", *arguments)
    assert (done.returncode, done.stdout, said in done.stderr) == (code, "", True), done.stderr
    assert "properties" not in done.stderr, "a schema is for the model"


@pytest.mark.requirement("toolscli:call")
def test_a_script_that_failed_is_a_call_that_failed(sh: Shell, snippets_cache: Path, snippets_folder: Path) -> None:
    assert snippets_folder.is_relative_to(snippets_cache)
    cache = {"XDG_CACHE_HOME": str(snippets_cache)}
    done = sh.run("tools", "call", "script", "code=exit(3)", **cache)
    assert (done.returncode, done.stdout, "SystemExit: 3" in done.stderr) == (1, "", True), done.stderr
    done = sh.run("tools", "call", "script", "code=exit(3)", "-o", "json", **cache)
    data = json.loads(done.stdout)
    assert (done.returncode, data["ok"], data["error"]["reason"]) == (1, False, "tool_script_failed")
    done = sh.run("tools", "call", "script", "code=1 + 1", **cache)
    assert (done.returncode, json.loads(done.stdout)["result"], done.stderr) == (0, 2, "")


@pytest.mark.requirement("toolscli:call")
def test_whoever_waits_for_the_interpreter_is_told_so_and_may_leave_at_once(sh: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "holdfast" / "interpreter"
    folder.mkdir(mode=0o700, parents=True)
    sh.environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with (folder / f"interpreter-{building._key(None)}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process that builds it
        with sh.running("tools", "call", "script", "code=1") as process:
            assert process.stderr is not None
            assert process.stderr.readline() == f"{building._WAITS}\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(BOUND) == 143


@pytest.mark.requirement("toolscli:call")
def test_a_call_acts_in_the_workspace_and_cannot_act_on_the_terminal(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    done = sh.run("tools", "call", "write", "path=a.txt", "content=x\x1b]0;t\x07", "-w", "w")
    assert done.returncode == 0
    assert (tmp_path / "w" / "a.txt").exists()
    shown = sh.run("tools", "call", "read", "path=a.txt", "-w", "w", "-o", "json")
    assert json.loads(shown.stdout)["ok"]
    assert "\x1b" not in sh.run("tools", "call", "read", "path=a.txt", "-w", "w").stdout
    outside = sh.run("tools", "call", "read", "path=../shop.py", "-w", "w")
    assert (outside.returncode, outside.stdout) == (1, "")


@pytest.mark.requirement("toolscli:call-governed")
def test_where_nobody_sits_what_is_asked_about_is_denied_and_says_what_would_allow_it(sh: Shell) -> None:
    done = sh.run("tools", "call", "shop:pay", "amount=1", "to=me", **ASKS)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody can be asked" in done.stderr
    assert "--mode auto" in done.stderr
    data = json.loads(sh.run("tools", "call", "shop:pay", "amount=1", "to=me", "-o", "json", **ASKS).stdout)
    assert (data["ok"], data["error"]["status"]) == (False, "denied")
    read_only = sh.run("tools", "call", "write", "path=a", "content=b", "--mode", "read-only")
    assert (read_only.returncode, (sh.home / "a").exists()) == (1, False)


@pytest.mark.requirement("toolscli:call-governed")
@pytest.mark.parametrize(("key", "code", "said"), [("y", 0, "paid 1.0 to me"), ("n", 1, "did not allow")])
def test_at_a_terminal_a_person_is_asked(sh: Shell, key: str, code: int, said: str) -> None:
    with on_terminal(sh, "tools", "call", "shop:pay", "amount=1", "to=me", **ASKS) as (terminal, process):
        terminal.until(r"allow pay\?[\s\S]*amount[\s\S]*y yes")
        terminal.press(key)
        assert said in plain(terminal.rest())
        assert process.wait(BOUND) == code


@pytest.mark.requirement("toolscli:call-governed")
def test_a_policy_decides_by_the_agent_and_its_roles(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "version: 1\nroles:\n  seller:\n    permissions: [capability:money]\n"
        "permissions:\n  - tool: pay\n    required: [capability:money]\n"
        "    scopes: [{argument: to, allow: [friend-*]}]\n"
    )
    pay = ("tools", "call", "shop:pay", "amount=1", "--policy", "p.yaml")
    without = sh.run(*pay, "to=friend-a")
    assert (without.returncode, "capability:money" in without.stderr) == (1, True)
    assert "holdfast tools explain" in without.stderr
    assert sh.run(*pay, "to=friend-a", "--roles", "seller").returncode == 0
    stranger = sh.run(*pay, "to=me", "--roles", "seller")
    assert (stranger.returncode, "friend-*" in stranger.stderr) == (1, True)


@pytest.mark.requirement("toolscli:call-ends")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_call_that_is_told_to_stop_ends_what_it_started(sh: Shell, number: signal.Signals, code: int) -> None:
    os.mkfifo(sh.home / "gate")
    os.mkfifo(sh.home / "said")
    line = "command=echo $$ > said; read -r _ < gate"
    with sh.running("tools", "call", "bash", line) as process:
        pid = int((sh.home / "said").read_text())
        process.send_signal(number)
        assert process.wait(BOUND) == code
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.requirement("toolscli:call")
def test_a_tool_that_calls_others_calls_them_through_the_same_gate(sh: Shell) -> None:
    (sh.home / "outer.py").write_text(
        "from holdfast import ToolContext, tool\nfrom msgspec.structs import replace\nimport shop\n\n"
        '@tool(effect="none")\nasync def over(context: ToolContext) -> str:\n    """Calls."""\n'
        '    return (await context.call("pay", {"amount": 3, "to": "x"})).content\n\n'
        "over = replace(over, inner=(shop.pay,))\n"
    )
    assert sh.run("tools", "call", "outer:over").stdout == "paid 3.0 to x [] card\n"
    assert "Denied" in sh.run("tools", "call", "outer:over", **ASKS).stdout


@pytest.mark.requirement("toolscli:call")
def test_a_tool_that_changes_files_cannot_call_another_that_does_as_in_a_run(sh: Shell) -> None:
    (sh.home / "outer.py").write_text(
        "from holdfast import ToolContext, tool\nfrom holdfast.types import Effect\n"
        'from msgspec.structs import replace\n\nFILES = Effect(workspace=True, outside="none")\n\n'
        '@tool(effect=FILES)\nasync def inner() -> str:\n    """Writes."""\n    return "written"\n\n'
        '@tool(effect=FILES)\nasync def over(context: ToolContext) -> str:\n    """Calls."""\n'
        '    return (await context.call("inner")).content\n\nover = replace(over, inner=(inner,))\n'
    )
    assert "cannot call others that do" in sh.run("tools", "call", "outer:over").stdout
    assert sh.run("tools", "call", "outer:inner").stdout == "written\n"


@pytest.mark.requirement("toolscli:call")
def test_a_tool_that_calls_itself_has_a_place_of_its_own_and_an_end(sh: Shell) -> None:
    (sh.home / "deep.py").write_text(
        "from holdfast import ToolContext, tool\n\n\n"
        '@tool(effect="none", at_once=1)\nasync def down(n: int, context: ToolContext) -> str:\n'
        '    """Calls itself."""\n'
        '    return "floor" if not n else (await context.call("down", {"n": n - 1})).content\n'
    )
    assert sh.run("tools", "call", "deep:down", "n=3").stdout == "floor\n"
    assert "8 deep at most" in sh.run("tools", "call", "deep:down", "n=5000").stdout


@pytest.mark.requirement("toolscli:list")
def test_names_of_tools_are_completed(sh: Shell) -> None:
    line = {"_HOLDFAST_COMPLETE": "bash_complete", "COMP_WORDS": "holdfast tools describe gr", "COMP_CWORD": "3"}
    assert "grep" in sh.run(**line).stdout
    with sh.running("tools", "list") as process:
        assert "read" in await_line(process, "^read ")
