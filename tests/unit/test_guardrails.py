"""Rules about commands and paths, however these are spelled."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.tools.hooks.guardrails import AllowedPaths, BlockedCommands
from holdfast.tools.hooks.port import Calling, Ruling
from holdfast.tools.hooks.shell import commands, paths_in
from holdfast.types import CallId, Effect

BLOCK = BlockedCommands("rm -rf", "git push --force", "mkfs", "curl evil.example")
PATHS = AllowedPaths("src", "/data")


def told(tool: str = "bash", **arguments: object) -> Calling:
    return Calling(
        tool=tool,
        arguments=arguments,
        effect=Effect(),
        agent="a",
        session="s",
        call_id=CallId("c"),
        workspace="/projects/one",
    )


def denies(hook: BlockedCommands | AllowedPaths, **arguments: object) -> Ruling | None:
    said = hook(told("bash", **arguments))
    assert said is None or (said.verdict == "deny" and said.notes[0].kind == "security")
    return said


@pytest.mark.requirement("tools:hooks-block-and-audit")
@pytest.mark.parametrize(
    "line",
    [
        "rm -rf /",
        "rm  -rf  build",
        "rm -r -f build",
        "rm -fr build",
        "rm -v -Rrf build",
        "/bin/rm -rf build",
        "r\\m -rf build",
        "'rm' \"-rf\" build",
        "r''m -r''f build",
        "$'\\x72m' -rf build",
        "$'\\162\\155' -rf build",
        "rm \\\n -rf build",
        "cd build; rm -rf .",
        "true && rm -rf .",
        "true|rm -rf .",
        "(rm -rf .)",
        "echo $(rm -rf .)",
        "echo `rm -rf .`",
        "echo <(rm -rf .)",
        "if true\nthen rm -rf .\nfi",
        "sudo rm -rf .",
        "env A=1 rm -rf .",
        "A=1 rm -rf .",
        "nohup rm -rf . &",
        "find . | xargs rm -rf",
        "echo ok > out; rm -rf .",
        "rm -rf '",
        "git push origin main --force",
        "git -C . push --force",
        "mkfs /dev/sda",
        "mkfs",
        "true; mkfs",
        "sudo mkfs /dev/sda",
        "curl -s evil.example",
    ],
)
def test_a_blocked_command_is_refused_however_it_is_spelled(line: str) -> None:
    assert denies(BLOCK, command=line) is not None


@pytest.mark.requirement("tools:hooks-block-and-audit")
@pytest.mark.parametrize(
    "line",
    [
        "rm build/old.txt",
        "rm -r build",
        "grep -rf patterns .",
        "git push origin main",
        "ls -rf",
        "",
        "echo 'a b",
        "curl -s good.example",
    ],
)
def test_a_command_that_is_not_blocked_passes(line: str) -> None:
    assert denies(BLOCK, command=line) is None


@pytest.mark.requirement("tools:hooks-block-and-audit")
@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "../outside"},
        {"path": "src/../../etc/passwd"},
        {"path": "/etc/passwd"},
        {"path": "."},
        {"path": "srcs/x"},
        {"path": "/datax"},
        {"path": "/data/../etc"},
        {"path": "~/notes"},
        {"path": "~root/notes"},
        {"path": "src\0/../../x"},
        {"paths": ["src/a", "docs/b"]},
        {"file_path": "docs/x"},
        {"directory": "/"},
        {"command": "cat /etc/passwd"},
        {"command": "cat ../x"},
        {"command": "cat <../x"},
        {"command": "echo hi >/etc/cron"},
        {"command": "echo hi >out.txt"},
        {"command": "ls ."},
        {"command": "ls -la .."},
        {"command": "tar -C/etc -x"},
        {"command": "dd of=/dev/sda"},
        {"command": "grep --file=/etc/shadow x"},
        {"command": "cat '/etc'/passwd"},
        {"command": "cat /e\\tc/passwd"},
        {"command": "cat ~/notes"},
        {"command": "echo $(cat /etc/passwd)"},
    ],
)
def test_a_path_outside_the_list_is_refused_in_arguments_and_in_commands(arguments: dict[str, object]) -> None:
    assert denies(PATHS, **arguments) is not None


@pytest.mark.requirement("tools:hooks-block-and-audit")
@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "src/a.py"},
        {"path": "src"},
        {"path": "./src/../src/a"},
        {"path": "/data/set/1"},
        {"path": "/projects/one/src/x"},
        {"path": "blob:sha256:0123"},
        {"command": "cat src/a.py && wc -l /data/x"},
        {"command": "echo hello world"},
        {"command": "curl https://example.org/x"},
        {"command": "sed s/a/b/ src/x"},
        {"content": "../anything"},
        {"limit": 3},
    ],
)
def test_a_path_on_the_list_passes_and_so_does_what_is_no_path(arguments: dict[str, object]) -> None:
    assert denies(PATHS, **arguments) is None


def test_rules_without_anything_in_them_are_refused() -> None:
    for wrong in ((), ("",), (" ",)):
        with pytest.raises(UsageError):
            BlockedCommands(*wrong)
    with pytest.raises(UsageError):
        AllowedPaths()


@given(st.text(max_size=300), st.text(alphabet=string.printable, max_size=300))
def test_no_line_of_shell_breaks_a_rule(any_text: str, printable: str) -> None:
    for line in (any_text, printable):
        BLOCK(told(command=line, path=line))
        PATHS(told(command=line, path=line))
        list(paths_in(line))
        assert all(words for words in commands(line))


@given(st.lists(st.sampled_from(["", "'", '"', "\\"]), min_size=6, max_size=6))
def test_quotes_within_a_word_hide_no_command(marks: list[str]) -> None:
    word = "".join(
        f"{mark}{mark}{letter}" if mark in "'\"" else f"{mark}{letter}"
        for mark, letter in zip(marks, "mkfs", strict=False)
    )
    assert denies(BLOCK, command=f"true; {word} /dev/sda") is not None


@pytest.mark.requirement("tools:hooks-block-and-audit")
@pytest.mark.parametrize(
    "arguments",
    [
        {"filePath": "/etc/passwd"},
        {"outputPath": "/etc/passwd"},
        {"edits": [{"path": "/etc/passwd"}]},
        {"options": {"deep": {"path": [["/etc/passwd"]]}}},
        {"command": "cat file:///etc/passwd"},
        {"url": "file:///etc/passwd"},
        {"uri": "FILE://localhost/etc/passwd"},
        {"options": {"command": "cat /etc/passwd"}},
    ],
)
def test_a_path_is_found_wherever_it_lies(arguments: dict[str, object]) -> None:
    assert denies(PATHS, **arguments)
    inside = json.loads(json.dumps(arguments).replace("/etc/passwd", "/data/x"))
    assert not denies(PATHS, **inside)


@pytest.mark.requirement("tools:hooks-block-and-audit")
@pytest.mark.parametrize(
    "arguments",
    [{"command": ["rm", "-rf", "x"]}, {"Command": "rm -rf x"}, {"steps": [{"command": "rm -rf x"}]}],
)
def test_a_command_is_found_wherever_it_lies(arguments: dict[str, object]) -> None:
    assert denies(BLOCK, **arguments)
