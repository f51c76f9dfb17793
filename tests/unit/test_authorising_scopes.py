"""Scopes of arguments against what somebody hostile puts into them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tools.authorising.matching.paths import path_of
from holdfast.tools.authorising.scopes import ArgumentScope, Kind, arguments_of, compile_scope

ROOT = "/projects/one"


def verdict(scope: ArgumentScope, arguments: object, root: str = "") -> str:
    found = compile_scope(scope, "t")(arguments_of(arguments), root)
    return "allow" if found is None else found.verdict


def judged(kind: Any, value: object, allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), root: str = "") -> str:
    scope = ArgumentScope(argument="x", kind=kind, allow=allow, deny=deny)
    return verdict(scope, json.dumps({"x": value}), root)


PATHS_IN = ["src/a.py", "./src/a.py", "src//a.py", "src/./b/c.py", f"{ROOT}/src/a.py", "src/é.py", "docs/x.md"]
PATHS_OUT = [
    "src/../secret",
    "src/..",
    "../src/a.py",
    "/etc/passwd",
    "/src/a.py",
    f"{ROOT}/../space/src/a.py",
    f"{ROOT}x/src/a.py",
    "~/src/a.py",
    "~root/src/a.py",
    "C:/src/a.py",
    "c:src",
    "./~/src/a.py",
    "src\\..\\a.py",
    "src/a\0.py",
    "src/a\n.py",
    "src/\u200b../a.py",
    "src",
    ".",
    "",
    "SRC/a.py",
    "docs/sub/x.md",
    "src/keys/a.pem",
    "src/KEYS/a",
    "src/keys./a",
    "src/keys /a",
    "src/\uff4beys/a",
    "src/keys",
    f"{ROOT}/src/keys/x",
    "src/deep/down/.env",
    "src/x.Env/y",
    "s" * 5000,
]


@pytest.mark.requirement("authorising:scope-paths")
@pytest.mark.parametrize(("path", "wanted"), [*((p, "allow") for p in PATHS_IN), *((p, "deny") for p in PATHS_OUT)])
def test_a_path_is_inside_or_outside_whatever_it_looks_like(path: str, wanted: str) -> None:
    allow, deny = ("src/**", "docs/*.md"), ("src/keys/**", "**/*.env", f"{ROOT}/src/private")
    assert judged("path", path, allow, deny, ROOT) == wanted


def test_a_path_may_be_allowed_or_denied_by_where_it_is_on_disk() -> None:
    assert judged("path", "src/private/x", ("src/**",), (f"{ROOT}/src/private",), ROOT) == "deny"
    assert judged("path", "a/b", (f"{ROOT}/a/**",), root=ROOT) == "allow"
    assert judged("path", "/data/x", ("/data/*",), root=ROOT) == "allow"
    assert judged("path", "/data/x", ("**",), root="") == "allow"
    assert judged("path", ROOT, (".",), root=ROOT + "/") == "allow"
    assert judged("path", "anything/below", ("**",), (".",), ROOT) == "deny"


@pytest.mark.requirement("authorising:scope-paths")
@given(
    st.lists(st.sampled_from(["..", ".", "/", "a", "src", "\\", "~", " ", "C:", "\0", "é"]), max_size=8).map("".join)
)
def test_no_path_that_is_read_climbs(text: str) -> None:
    try:
        spellings = path_of(text, ROOT)
    except ValueError:
        return
    for path in spellings:
        assert ".." not in path.split("/")
        assert path == "/" or not path.endswith("/")
        assert path_of(path, ROOT)[0] == spellings[0], "one spelling"


COMMANDS = {
    "git status": "allow",
    "git  status ": "allow",
    "git 'status'": "allow",
    'git log --format="%h %s" -3': "allow",
    "git log 'a; rm -rf / $(x)'": "allow",
    "cat src/a.txt": "allow",
    "cat 'src/a b.txt'": "allow",
    "git": "deny",
    "git status -s": "deny",
    "git push": "deny",
    "git log --output=x": "deny",
    "Git status": "deny",
    "/usr/bin/git status": "deny",
    "cat src/../../etc/passwd": "deny",
    "cat src/..": "deny",
    "cat src/sub/x.txt": "deny",
    "cat /etc/passwd": "deny",
    "git status; rm -rf /": "deny",
    "git status && rm x": "deny",
    "git status | sh": "deny",
    "git status & rm x": "deny",
    "git status > /etc/x": "deny",
    "git log $(rm x)": "deny",
    "git log `rm x`": "deny",
    'git log "$(rm x)"': "deny",
    'git log "`rm x`"': "deny",
    'git log "a\\"; rm x; echo \\""': "deny",
    "git log $HOME": "deny",
    "git log a\\;b": "deny",
    "git log\nrm x": "deny",
    "git log\rrm x": "deny",
    "git log 'a\nb'": "deny",
    "git log *": "deny",
    "git log {a,b}": "deny",
    "git log ~": "deny",
    "git log !x": "deny",
    "git log 'unclosed": "deny",
    "X=1 git status": "deny",
    "env git status": "deny",
    "bash -c 'git status'": "deny",
    "": "deny",
    "''": "deny",
    "git\u00a0status": "deny",
}


@pytest.mark.requirement("authorising:scope-commands")
@pytest.mark.parametrize(("command", "wanted"), COMMANDS.items(), ids=map(ascii, COMMANDS))
def test_a_command_is_one_program_and_its_words_or_it_is_not_read(command: str, wanted: str) -> None:
    allow, deny = ("git status", "git log *", "cat src/*"), ("git log --output=x",)
    assert judged("command", command, allow, deny) == wanted


@pytest.mark.requirement("authorising:scope-commands")
def test_a_list_of_words_needs_no_shell_and_a_denied_program_is_denied_in_any_folder() -> None:
    assert judged("command", ["git", "log", "a; b", "$(x)"], ("git log *",)) == "allow"
    assert judged("command", ["git", "log\0"], ("git *",)) == "deny"
    for wrong in ([], [""], ["git", 1], {"git": 1}, 5, None):
        assert judged("command", wrong, ("git *",)) == "deny"
    assert judged("command", "/usr/bin/git push", ("/usr/bin/git *",), ("git push *",)) == "deny"
    asks = ArgumentScope(argument="x", kind="command", allow=("git *",), verdict="approval_required")
    assert verdict(asks, {"x": "git status | sh"}) == "approval_required", "a person can read it"
    assert verdict(asks, {"x": 5}) == "deny"
    assert verdict(asks, {}) == "deny"


NUMBERS: list[tuple[object, str]] = [
    (1, "allow"), (10, "allow"), (1.0, "allow"), (2.5, "allow"), (20, "allow"), (0.999, "deny"), (10.000001, "deny"),
    (11, "deny"), (-1, "deny"), (True, "deny"), ("5", "deny"), (None, "deny"), ([5], "deny"), (10**400, "deny"),
]  # fmt: skip


@pytest.mark.requirement("authorising:scope-numbers")
@pytest.mark.parametrize(("value", "wanted"), NUMBERS)
def test_a_number_lies_in_a_range_and_only_a_number_does(value: object, wanted: str) -> None:
    assert judged("number", value, ("1..10", "20")) == wanted


@pytest.mark.requirement("authorising:scope-numbers")
def test_a_number_is_compared_as_it_is_written() -> None:
    scope = ArgumentScope(argument="x", kind="number", allow=("..10",))
    assert verdict(scope, '{"x": 10.0000000000000000000001}') == "deny"
    assert verdict(scope, '{"x": 1e1}') == "allow"
    for text in ("NaN", "Infinity", "-Infinity", "1e400", "1e99999999999999999999", "9" * 5000):
        assert verdict(scope, f'{{"x": {text}}}') == "deny", text
    assert verdict(scope, '{"x": -1e400}') == "allow"
    assert judged("number", 5, ("1..",), ("5",)) == "deny"
    assert judged("number", float("nan"), ("1..",)) == "deny"


@pytest.mark.requirement("authorising:scope-texts")
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("release-1", "allow"), ("release-", "allow"), ("Release-1", "deny"), ("xrelease-1", "deny"), ("v1.2", "allow"),
        ("v1x2", "deny"), ("v12.3", "deny"), ("a*b", "allow"), ("axb", "deny"), ("release-SECRET", "deny"),
        ("release-\n secret \n", "deny"), ("release-1\nx", "allow"), ("", "deny"), (5, "deny"),
        ("release-" * 9999, "deny"),
    ],
)  # fmt: skip
def test_a_text_is_what_a_pattern_says(value: object, wanted: str) -> None:
    assert judged("text", value, ("release-*", "v?.?", r"a\*b"), ("*secret*",)) == wanted


@pytest.mark.requirement("authorising:scope-texts")
def test_no_text_makes_matching_it_slow() -> None:
    began = time.perf_counter()
    hostile = "a" * 60_000
    assert judged("text", hostile, ("*a*a*a*a*a*a*a*a*b",)) == "deny"
    assert judged("path", "a" * 4000, ("*a*a*a*a*a*a*b/**",)) == "deny"
    assert judged("command", ["x", hostile], ("x *a*a*a*a*a*a*b",)) == "deny"
    assert time.perf_counter() - began < 5


REACH: list[tuple[str, str, str]] = [
    ("x", '{"x": "a"}', "allow"),
    ("x", "{}", "refused"),
    ("x", "", "refused"),
    ("x", "[]", "refused"),
    ("x", '"a"', "refused"),
    ("x", "null", "refused"),
    ("x", '{"x": "a"', "refused"),
    ("x", '{"x": "b", "x": "a"}', "refused"),
    ("x", '{"x": "a", "x": "b"}', "refused"),
    ("x", '{"X": "a"}', "refused"),
    ("x", '{"x": null}', "refused"),
    ("x", '{"x": ["a"]}', "refused"),
    ("x", '{"x": {"a": 1}}', "refused"),
    ("x.y", '{"x": {"y": "a"}}', "allow"),
    ("x.y", '{"x.y": "a"}', "refused"),
    ("x.y", '{"x": "a"}', "refused"),
    ("x.y", '{"x": {"y": "b", "y": "a"}}', "refused"),
    ("x.*", '{"x": ["a", "a"]}', "allow"),
    ("x.*", '{"x": ["a", "b"]}', "outside"),
    ("x.*", '{"x": []}', "refused"),
    ("x.*", '{"x": {"k": "a"}}', "refused"),
    ("x.*", '{"x": "a"}', "refused"),
    ("x.*.y", '{"x": [{"y": "a"}, {"y": "a"}]}', "allow"),
    ("x.*.y", '{"x": [{"y": "a"}, {}]}', "refused"),
    ("x.*.*", '{"x": [["a"], ["a", "b"]]}', "outside"),
    ("x", '{"x": "b"}', "outside"),
    ("x", "[" * 100_000, "refused"),
    ("x", '{"x": ' * 5000 + "1" + "}" * 5000, "refused"),
]


@pytest.mark.requirement("authorising:scope-arguments")
@pytest.mark.parametrize(("argument", "arguments", "wanted"), REACH, ids=[f"{a} {j[:40]}" for a, j, _ in REACH])
def test_an_argument_outside_may_be_asked_about_and_one_that_cannot_be_read_may_not(
    argument: str, arguments: str, wanted: str
) -> None:
    for then in ("deny", "approval_required"):
        scope = ArgumentScope(argument=argument, allow=("a",), verdict=then)
        assert verdict(scope, arguments) == {"allow": "allow", "outside": then, "refused": "deny"}[wanted]


def test_what_is_refused_says_which_argument_and_what_would_do_and_hides_a_query() -> None:
    scope = ArgumentScope(argument="url", kind="url", allow=tuple(f"https://h{n}.example/" for n in range(9)))
    found = compile_scope(scope, "fetch")({"url": "https://evil.org/x?key=geheim"}, "")
    assert found is not None
    assert "'url' of 'fetch'" in found.words
    assert "https://evil.org/x" in found.words
    assert "geheim" not in found.words
    assert "and 4 more" in found.advice
    long = compile_scope(ArgumentScope(argument="x", allow=("a",)), "t")({"x": "y" * 60_000}, "")
    assert long is not None
    assert len(long.words) < 300


LEAVES = st.none() | st.booleans() | st.integers() | st.text()
KINDS: tuple[tuple[Kind, str], ...] = (
    ("url", "https://a.b/"),
    ("path", "a/**"),
    ("text", "*"),
    ("number", "1.."),
    ("command", "a *"),
)


@given(st.recursive(LEAVES, lambda each: st.lists(each) | st.dictionaries(st.sampled_from(["x", "y"]), each)))
def test_no_arguments_make_a_scope_raise(arguments: object) -> None:
    for kind, allow in KINDS:
        for name in ("x", "x.y", "x.*", "x.*.y"):
            scope = ArgumentScope(argument=name, kind=kind, allow=(allow,))
            assert verdict(scope, arguments, ROOT) in ("allow", "deny")
            assert verdict(scope, json.dumps(arguments), ROOT) in ("allow", "deny")
