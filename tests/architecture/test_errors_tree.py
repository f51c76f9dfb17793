"""One tree of errors, drawn as it is, with stable codes, and caught broadly at the boundaries only."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from tests.architecture.tree import PACKAGE, modules, nodes, parse, shown

from holdfast import errors
from holdfast.errors import HoldfastError
from holdfast.errors import tree as drawing

FROZEN = {
    "HoldfastError": "error",
    "Unreachable": "unreachable",
    "UsageError": "usage",
    "UnknownModel": "unknown_model",
    "UnknownTool": "unknown_tool",
    "UnknownSession": "unknown_session",
    "UnknownPrice": "unknown_price",
    "UndescribableTool": "undescribable_tool",
    "InputTooLarge": "input_too_large",
    "InboxFull": "inbox_full",
    "LaneFull": "lane_full",
    "SessionBusy": "session_busy",
    "SessionExited": "session_exited",
    "UnknownWait": "unknown_wait",
    "SecretMissing": "secret_missing",
    "PolicyDenied": "policy_denied",
    "JournalError": "journal",
    "Fenced": "fenced",
    "LeaseHeld": "lease_held",
    "Corrupt": "corrupt",
    "NotConnected": "not_connected",
    "NotOwnable": "not_ownable",
    "StorageError": "storage",
    "StorageLocked": "storage_locked",
    "StorageReadOnly": "storage_read_only",
    "StorageFull": "storage_full",
    "StorageDamaged": "storage_damaged",
    "NetError": "net",
    "AddressBlocked": "address_blocked",
    "RequestRefused": "request_refused",
    "ConnectionBroken": "connection_broken",
    "NetTimeout": "net_timeout",
    "ProtocolError": "net_protocol",
    "AnswerTooLarge": "answer_too_large",
    "DeliveryError": "delivery",
    "DeliveryRefused": "delivery_refused",
    "NotDelivered": "not_delivered",
    "SandboxError": "sandbox",
    "IsolationMissing": "isolation_missing",
    "SandboxesFull": "sandboxes_full",
    "PathEscape": "path_escape",
    "WorkspaceBusy": "workspace_busy",
    "ModelError": "model",
    "ModelNotFound": "model_not_found",
    "NoCredit": "no_credit",
    "RateLimited": "rate_limit",
    "Overloaded": "overloaded",
    "ServerError": "server_error",
    "ConnectionFailed": "connection",
    "ModelTimeout": "timeout",
    "Malformed": "malformed",
    "AuthFailed": "auth",
    "InvalidRequest": "invalid_request",
    "MediaUnsupported": "media_unsupported",
    "ContextOverflow": "context_overflow",
}
"""Logs and programs depend on these; a code is added, never changed."""

BOUNDARIES = {
    "src/holdfast/tools/hooks/running.py": 2,  # a tool call: its hooks, which are somebody's functions
    "src/holdfast/tools/authored.py": 2,  # a tool call
    "src/holdfast/server/routing/endpoint.py": 1,  # a surface: one request
    "src/holdfast/cli/chat/talk.py": 2,  # a surface: one line, one answer
    "src/holdfast/runtime/driving/working.py": 1,  # a run
    "src/holdfast/runtime/delivering/attempting.py": 2,  # a run's surroundings: what people made of a target, or a hook
    "src/holdfast/runtime/guarding/watching.py": 1,  # and of a critic
    "src/holdfast/testing/answering.py": 2,  # a surface: the scripted server, around a test's own function
    "src/holdfast/storage/sqlite.py": 2,  # these hand it, as it is, to the one who waits for the answer
    "src/holdfast/storage/sqlite_reading.py": 1,
    "src/holdfast/tools/threads.py": 1,
    "src/holdfast/flow/broadcast.py": 1,  # a reader's own function
    "src/holdfast/sandbox/native/blanks.py": 1,  # the same as below
    "src/holdfast/sandbox/native/launching.py": 1,  # a forked process, in which nothing may go on as the launcher
    "src/holdfast/sandbox/programs/launching.py": 1,  # the same
    "src/holdfast/sandbox/confining/launching.py": 1,  # the same
    "src/holdfast/sandbox/confining/starting.py": 1,  # the same
    "src/holdfast/sandbox/snippets/guest.py": 1,  # a snippet: whatever it raises is its answer
}
"""How many handlers catch everything and do not raise it again."""


HOME = PACKAGE / "errors"


def tree() -> list[type[HoldfastError]]:
    found = [HoldfastError]
    for kind in found:
        found += [each for each in kind.__subclasses__() if each.__module__.startswith(f"{errors.__name__}.")]
    return found


def drawn() -> dict[str, str]:
    """Returns each class of the drawing with the class it hangs from."""
    above: dict[int, str] = {}
    parents: dict[str, str] = {}
    for line in (inspect.getdoc(drawing) or "").splitlines():
        match = re.match(r"( *(?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+(?: · [A-Z]\w+)*)(?:  |$)", line)
        if match is None or (not above and match[2] != "HoldfastError"):
            continue
        depth = len(match[1]) // 4
        for name in match[2].split(" · "):
            parents[name] = above.get(depth - 1, "")
            above[depth] = name
    return parents


@pytest.mark.requirement("errors:tree-drawn")
def test_the_drawing_shows_the_classes_that_exist_and_where_they_hang() -> None:
    real = {kind.__name__: kind.__mro__[1].__name__ for kind in tree()[1:]}
    shown_ = drawn()
    assert shown_.pop("HoldfastError") == ""
    assert shown_ == real


@pytest.mark.requirement("errors:tree-drawn")
def test_a_class_stands_in_the_file_of_the_one_it_hangs_from_and_the_drawing_alone_in_its_own() -> None:
    families = [kind for kind in tree() if kind.__mro__[1] in (Exception, HoldfastError)]
    astray = [kind for kind in tree() if kind not in families and kind.__module__ != kind.__mro__[1].__module__]
    assert astray == []
    assert ast.get_docstring(parse(HOME / "tree.py")) and len(parse(HOME / "tree.py").body) == 1


@pytest.mark.requirement("errors:one-tree")
def test_a_class_is_named_for_export_once_and_the_door_lets_all_of_them_through() -> None:
    named = [name for path in sorted(HOME.glob("*.py")) for name in FROZEN if f'"{name}"' in path.read_text()]
    assert sorted(named) == sorted(FROZEN)
    door = (HOME / "__init__.py").read_text()
    assert [name for name in FROZEN if name in door] == []
    assert [kind for kind in tree() if getattr(errors, kind.__name__, None) is not kind] == []


@pytest.mark.requirement("errors:stable-codes")
def test_every_class_has_a_code_of_its_own_that_never_changes() -> None:
    assert {kind.__name__: vars(kind).get("code") for kind in tree()} == FROZEN
    assert len(set(FROZEN.values())) == len(FROZEN)
    assert set(errors.__all__) == set(FROZEN)


@pytest.mark.requirement("errors:retry-meaning", "errors:audience")
@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_every_class_says_when_to_try_again_and_who_is_to_read_it(kind: type[HoldfastError]) -> None:
    assert kind.retry in ("never", "now", "later")
    assert kind.audience in ("model", "user", "operator")
    assert inspect.getdoc(kind)


@pytest.mark.requirement("errors:one-tree")
def test_every_exception_class_of_the_package_is_in_the_tree_or_private_or_for_tool_authors() -> None:
    outside = [
        f"{shown(path)}:{node.name}"
        for path in modules()
        if path.parent != HOME
        for node in nodes(path, ast.ClassDef)
        if any(_is_error(ast.unparse(base).rpartition(".")[2]) for base in node.bases)
    ]
    # What a tool's author raises, what carries a refusal through the HTTP library or to a client of the proxy or of the
    # server, what says to the one caller above why there is no token or no answer, and what fails a test.
    allowed = re.compile(
        r":_|tools/binding.py:(ToolFailure|Suspended)$|net/guarding.py:BlockedSocketError$|testing/|sandbox/egress/"
        r"|net/tokens.py:TokenFailure$|tools/contract/checking.py:ContractBroken$|tools/transports/port.py:Unsent$"
        r"|tools/transports/rpc/channels.py:(Failed|Undialled)$|server/problems.py:Refused$"
    )
    assert [name for name in outside if not allowed.search(name)] == []


def _is_error(name: str) -> bool:
    return name in FROZEN or name.endswith(("Error", "Exception"))


@pytest.mark.requirement("errors:broad-except-only-at-boundaries")
def test_everything_is_caught_only_at_the_boundaries() -> None:
    found: dict[str, int] = {}
    for path in modules():
        for node in nodes(path, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            if broad and not isinstance(node.body[-1], ast.Raise):
                found[shown(path)] = found.get(shown(path), 0) + 1
    assert found == BOUNDARIES
