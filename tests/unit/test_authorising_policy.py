"""Policies as values and as files: what is read, what is refused, and who may ask which model."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.tools.authorising.blocking import judge_model, judge_provider_tool, model_allowed
from holdfast.tools.authorising.deciding import compile_table, judge_call
from holdfast.tools.authorising.loading import load_policy, read_policy
from holdfast.tools.authorising.policy import OperationRule, Policy, Role, ToolPermission
from holdfast.tools.authorising.scopes import ArgumentScope
from holdfast.types import ToolSpec

WHOLE = """
version: 1
agents: [helper, writer]
roles:
  researcher:
    description: Reads.
    permissions: [tool:fetch:invoke, "capability:web"]
permissions:
  - tool: deploy
    required: [capability:release]
    match: any
    agents: [helper]
    operations:
      - {operation: write, verdict: approval_required}
      - {operation: delete, verdict: deny}
    scopes:
      - {argument: target.url, kind: url, allow: ["https://example.com/"], verdict: approval_required}
      - {argument: count, kind: number, deny: ["100.."]}
blocked_tools: [bash, "mcp--*"]
allowed_models: ["anthropic/*", openai/small]
"""
VALUE = Policy(
    agents=("helper", "writer"),
    roles={"researcher": Role(description="Reads.", permissions=("tool:fetch:invoke", "capability:web"))},
    permissions=(
        ToolPermission(
            tool="deploy",
            required=("capability:release",),
            match="any",
            agents=("helper",),
            operations=(
                OperationRule(operation="write", verdict="approval_required"),
                OperationRule(operation="delete", verdict="deny"),
            ),
            scopes=(
                ArgumentScope(
                    argument="target.url", kind="url", allow=("https://example.com/",), verdict="approval_required"
                ),
                ArgumentScope(argument="count", kind="number", deny=("100..",)),
            ),
        ),
    ),
    blocked_tools=("bash", "mcp--*"),
    allowed_models=("anthropic/*", "openai/small"),
)

HOSTILE = """
roles: {a: {permisions: [x]}}           #! did you mean 'permissions'
blocked_tool: [bash]                    #! did you mean 'blocked_tools'
roles: {a: {permissions: "x"}}          #! is a list
roles: {a: {permissions: ["tool:*"]}}   #! has a wildcard
roles: {a: {permissions: [""]}}         #! it is empty
roles: {" ": {}}                        #! has no name
version: 2                              #! version 2 is not read here
version: "1"                            #! a whole number
apply_mode: scoped                      #! it would hold for nobody
{apply_mode: global, agents: [a]}       #! it is not global
apply_mode: everywhere                  #! cannot be 'everywhere'
agents: [""]                            #! it is empty
permissions: [{required: [x]}]          #! about no one tool
permissions: [{tool: "*"}]              #! about no one tool
permissions: [{tool: t, match: any}]    #! nothing to match
permissions: [{tool: t, match: some}]   #! write all or any
permissions: [{tool: t, action: list, required: [x]}]                    #! it counts only
permissions: [{tool: t, action: ""}]                                     #! is no action
permissions: [{tool: t, required: ["a*"]}]                               #! has a wildcard
{agents: [a], permissions: [{tool: t, agents: [b]}]}                     #! does not hold for 'b'
permissions: [{tool: t, operations: [{operation: run}]}]                 #! cannot be 'run'
permissions: [{tool: t, operations: [{verdict: maybe}]}]                 #! cannot be 'maybe'
permissions: [{tool: t, operations: [{class: read}]}]                    #! has no key 'class'
permissions: [{tool: t, scopes: [{argument: x}]}]                        #! allows and denies nothing
permissions: [{tool: t, scopes: [{allow: [x]}]}]                         #! names no argument
permissions: [{tool: t, scopes: [{argument: a..b, allow: [x]}]}]         #! names no argument
permissions: [{tool: t, scopes: [{argument: x, kind: uri, allow: [x]}]}] #! cannot be 'uri'
permissions: [{tool: t, scopes: [{argument: x, kind: url, allow: [example.com]}]}]          #! is no pattern of URLs
permissions: [{tool: t, scopes: [{argument: x, kind: url, allow: ["https://a.b/*"]}]}]      #! where paths begin
permissions: [{tool: t, scopes: [{argument: x, kind: url, allow: ["https://u@a.b/"]}]}]     #! is no pattern of URLs
permissions: [{tool: t, scopes: [{argument: x, kind: url, allow: ["https://a.b/x/../y"]}]}] #! climbs
permissions: [{tool: t, scopes: [{argument: x, kind: url, allow: ["https://127.1/"]}]}]     #! neither a name nor
permissions: [{tool: t, scopes: [{argument: x, kind: path, allow: ["../x"]}]}]              #! climbs
permissions: [{tool: t, scopes: [{argument: x, kind: path, allow: ["{a,b}"]}]}]             #! braces
permissions: [{tool: t, scopes: [{argument: x, kind: path, allow: [""]}]}]                  #! it is empty
permissions: [{tool: t, scopes: [{argument: x, kind: number, allow: [many]}]}]              #! is no range of numbers
permissions: [{tool: t, scopes: [{argument: x, kind: number, allow: ["9..1"]}]}]            #! runs backwards
permissions: [{tool: t, scopes: [{argument: x, kind: number, allow: [".."]}]}]              #! has an end
permissions: [{tool: t, scopes: [{argument: x, kind: number, allow: ["nan"]}]}]             #! is no range of numbers
permissions: [{tool: t, scopes: [{argument: x, kind: command, deny: [rm]}]}]                #! stops nobody
permissions: [{tool: t, scopes: [{argument: x, kind: command, allow: ["* x"]}]}]            #! begins with a program
permissions: [{tool: t, scopes: [{argument: x, verdict: allow, allow: [x]}]}]               #! cannot be 'allow'
allowed_models: [opus]                  #! is no model
blocked_tools: [" "]                    #! it is empty
blocked_tools: bash                     #! is a list
{blocked_tools: [a], blocked_tools: [b]}  #! blocked_tools
roles: !!python/object:os.system {}     #! tags mean nothing
roles: *gone                            #! stands for nothing
- tool: x                               #! a policy has keys
just words                              #! a policy has keys
{unclosed: [                            #! no YAML
"""
ROWS = [tuple(line.split("#!")) for line in HOSTILE.strip().splitlines()]


@pytest.mark.requirement("authorising:policy-files")
def test_a_file_says_the_same_policy_as_the_value_and_so_does_its_json(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(WHOLE, "utf-8")
    assert load_policy(file) == load_policy(str(file)) == VALUE
    assert read_policy(msgspec.json.encode(VALUE)) == VALUE
    assert read_policy(msgspec.json.format(msgspec.json.encode(VALUE)).decode()) == VALUE
    assert msgspec.json.decode(msgspec.json.encode(VALUE), type=Policy) == VALUE
    assert load_policy(file).digest == VALUE.digest != Policy().digest


@pytest.mark.requirement("authorising:policy-files")
@pytest.mark.parametrize(("text", "words"), ROWS, ids=[row[0].strip()[:70] for row in ROWS])
def test_a_policy_that_breaks_a_rule_or_would_have_no_effect_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=rf"^p\.yaml:[23]:\d+: .*{re.escape(words.strip())}"):
        read_policy(f"# a policy\n{text}", "p.yaml")


@pytest.mark.requirement("authorising:policy-files")
def test_everything_that_is_wrong_is_said_at_once_and_each_in_its_line() -> None:
    text = "version: 1\nrols: {}\nagents: [a]\npermissions:\n  - tool: t\n    agents: [b]\n    match: any\n"
    with pytest.raises(UsageError) as refused:
        read_policy(text, "p.yaml")
    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == [
        "p.yaml:2:1",
        "p.yaml:6:14",
        "p.yaml:7:5",
    ]
    many = "permissions:\n" + "".join(f"  - {{tool: '', agents: [a{n}]}}\n" for n in range(80))
    with pytest.raises(UsageError, match="and 30 more; mend these first"):
        read_policy(many, "p.yaml")


@pytest.mark.requirement("authorising:policy-files")
def test_a_file_that_is_none_is_refused_by_its_name(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.yaml", "a\0b"):
        with pytest.raises(UsageError, match="policy"):
            load_policy(path)
    empty, large, pipe, binary = (tmp_path / name for name in ("empty", "large", "pipe", "binary"))
    empty.touch()
    large.write_text("# x\n" * 300_000)
    binary.write_bytes(b"roles: \xff\xfe")
    os.mkfifo(pipe)
    for path, words in ((empty, "has keys"), (large, "more than"), (pipe, "no file"), (binary, "UTF-8")):
        with pytest.raises(UsageError, match=words):
            load_policy(path)


def test_a_policy_in_python_is_held_to_the_same_rules() -> None:
    wrong: list[dict[str, Any]] = [
        {"apply_mode": "scoped"},
        {"apply_mode": "sometimes"},
        {"permissions": (ToolPermission(tool=""),)},
        {"permissions": (ToolPermission(tool="t", match="some"),)},  # pyright: ignore[reportArgumentType]
        {"permissions": (ToolPermission(tool="t", operations=(OperationRule(operation="run"),)),)},  # pyright: ignore[reportArgumentType]
        {"permissions": (ToolPermission(tool="t", operations=(OperationRule(verdict="maybe"),)),)},  # pyright: ignore[reportArgumentType]
        {"permissions": (ToolPermission(tool="t", scopes=(ArgumentScope(argument="x", kind="uri"),)),)},  # pyright: ignore[reportArgumentType]
        {"permissions": (ToolPermission(tool="t", scopes=(ArgumentScope(argument="x", allow=("a",), verdict="no"),)),)},  # pyright: ignore[reportArgumentType]
        {"permissions": (ToolPermission(tool="t", scopes=(ArgumentScope(argument="x", allow=("a",) * 1001),)),)},
    ]
    for fields in wrong:
        with pytest.raises(UsageError, match="this policy cannot be used: "):
            Policy(**fields)
    with pytest.raises(msgspec.ValidationError, match="unknown field `blocked`"):
        msgspec.json.decode(b'{"blocked": []}', type=Policy)
    with pytest.raises(UsageError, match="hold for nobody"):
        msgspec.json.decode(b'{"apply_mode": "scoped"}', type=Policy)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_document_makes_reading_a_policy_raise_anything_else(data: str | bytes) -> None:
    try:
        read_policy(data)
    except UsageError as error:
        assert str(error).startswith("policy:")


def test_a_policy_of_ten_thousand_rules_is_one_look_for_each_call() -> None:
    rules = tuple(
        ToolPermission(tool=f"t{n}", operations=(OperationRule(verdict="deny" if n % 2 else "allow"),))
        for n in range(10_000)
    )
    specs = [ToolSpec(name=f"t{n}", description="D.", parameters={}) for n in range(0, 10_000, 7)]
    table = compile_table(Policy(permissions=rules), "me", (), (), specs)
    assert {judge_call(table, each.name, "{}").verdict for each in specs} == {"allow", "deny"}
    assert judge_call(table, "t7", "{}") is table["t7"], "nothing is made for a call"


MODELS: list[tuple[Any, str, bool]] = [
    (None, "openai/x", True),
    (Policy(), "openai/x", True),
    (Policy(allowed_models=("openai/x",)), "openai/x", True),
    (Policy(allowed_models=("openai/x",)), "openai/x-large", False),
    (Policy(allowed_models=("openai/x",)), "OpenAI/x", False),
    (Policy(allowed_models=("openai/*",)), "openai/meta/llama", True),
    (Policy(allowed_models=("openai/*",)), "azure-openai/x", False),
    (Policy(allowed_models=("openai/x.5",)), "openai/xy5", False),
    (Policy(allowed_models=("*",)), "openai/x", True),
    (Policy(allowed_models=("a/*",), agents=("other",)), "openai/x", True),
    (Policy(allowed_models=("a/*",), agents=("me",)), "openai/x", False),
    (Policy(allowed_models=("a/*",), tenants=("other",)), "openai/x", True),
    ([Policy(allowed_models=("a/*", "b/*")), Policy(allowed_models=("b/*", "c/*"))], "b/x", True),
    ([Policy(allowed_models=("a/*", "b/*")), Policy(allowed_models=("b/*", "c/*"))], "a/x", False),
    ([Policy(allowed_models=("a/*", "b/*")), Policy(), Policy(allowed_models=("b/*", "c/*"))], "c/x", False),
]


@pytest.mark.requirement("authorising:models")
@pytest.mark.parametrize(("policies", "model", "allowed"), MODELS)
def test_a_model_is_asked_where_every_policy_that_names_models_names_it(
    policies: Any, model: str, allowed: bool
) -> None:
    assert model_allowed(policies, "me", model) is allowed
    decision = judge_model(policies, "me", model)
    assert (decision.verdict == "allow") is allowed
    assert allowed or (model in decision.rule and "allowed_models" in decision.advice)


@pytest.mark.requirement("authorising:models")
def test_each_model_of_a_chain_is_judged_by_itself() -> None:
    policy = Policy(allowed_models=("anthropic/*",))
    chain = ("anthropic/one", "openai/two", "anthropic/three")
    assert [model_allowed(policy, "me", each) for each in chain] == [True, False, True]


@pytest.mark.requirement("authorising:provider-tools")
def test_a_blocked_tool_is_blocked_where_the_provider_runs_it_too() -> None:
    policy = Policy(agents=("me",), blocked_tools=("Web-Search", "code_*"))
    for type_, verdict in (
        ("web_search", "deny"),
        ("web_search_20250305", "deny"),
        ("code_interpreter", "deny"),
        ("google_search", "allow"),
        ("web_searching", "allow"),
    ):
        assert judge_provider_tool(policy, "me", type_).verdict == verdict
        assert judge_provider_tool(policy, "other", type_).verdict == "allow"
