"""What each built-in tool counts as where rules speak of kinds of things: nothing that changes anything only reads."""

from __future__ import annotations

import pytest

from holdfast.tools.authorising.deciding import compile_table
from holdfast.tools.authorising.policy import OperationRule, Policy, ToolPermission
from holdfast.tools.builtin.table import BUILTIN
from holdfast.types import OPERATIONS, Operation

ALL: tuple[Operation, ...] = ("read", "write", "delete")
CHANGES: dict[str, tuple[Operation, ...]] = {
    "write": ("write",),
    "edit": ("write",),
    "bash": ALL,
    "process": ALL,
    "git": ALL,
    "kv_set": ("write",),
    "kv_delete": ("delete",),
    "file_save": ("write",),
    "file_delete": ("delete",),
}
"""Those that change something; all others read."""


@pytest.mark.parametrize("name", BUILTIN)
def test_a_tool_counts_as_what_it_does(name: str) -> None:
    tool = BUILTIN[name]
    assert tool.spec.governance.classes == CHANGES.get(name, ("read",))
    # What starts another agent changes nothing itself; what that one calls is judged where it is called.
    changes = not tool.spec.effect.repeatable and not tool.delegates
    assert changes is bool({*tool.spec.governance.classes} - {"read"}), "its effect says the same"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", CHANGES)
def test_a_rule_for_what_a_tool_does_takes_hold_of_it(name: str, operation: Operation) -> None:
    rule = ToolPermission(tool=name, operations=(OperationRule(operation=operation, verdict="deny"),))
    decision = compile_table(Policy(permissions=(rule,)), "me", (), (), [BUILTIN[name].spec])[name]
    assert decision.verdict == ("deny" if operation in CHANGES[name] else "allow")
