"""A text where a list is wanted is refused: it would be taken for its letters, and rules about them hold for nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast import Agent
from holdfast.errors import UsageError
from holdfast.tools.authorising.policy import Policy, Role, ToolPermission
from holdfast.tools.authorising.scopes import ArgumentScope
from holdfast.types import Governance


@pytest.mark.parametrize("field", ["tools", "provider_tools", "roles", "allowed_tools"])
def test_an_agent_refuses_a_text_where_it_takes_a_list(field: str) -> None:
    given: dict[str, Any] = {"tools": ["read"], field: "read"}
    with pytest.raises(UsageError, match=rf"^{field} is a list.*'read'.*: write [(\[]'read'"):
        Agent("openai/x", **given)
    given[field] = ["read"]
    assert Agent("openai/x", **given).spec


@pytest.mark.parametrize("field", ["capabilities", "operations", "agents"])
def test_what_a_tool_says_of_itself_refuses_a_text_where_it_takes_a_list(field: str) -> None:
    given: dict[str, Any] = {field: "write"}
    with pytest.raises(UsageError, match=f"^{field} is a list"):
        Governance(**given)
    given[field] = ["write"]
    assert getattr(Governance(**given), field) == ("write",)


LIST: Any = "bash"


def scoped(**patterns: Any) -> Policy:
    return Policy(permissions=(ToolPermission(tool="x", scopes=(ArgumentScope(argument="a", **patterns),)),))


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: Policy(blocked_tools=LIST), "blocked_tools"),
        (lambda: Policy(allowed_models=LIST), "allowed_models"),
        (lambda: Policy(agents=LIST), "agents"),
        (lambda: Policy(admins=LIST), "admins"),
        (lambda: Policy(permissions=LIST), "permissions"),
        (lambda: Policy(roles={"a": Role(permissions=LIST)}), "roles.a.permissions"),
        (lambda: Policy(permissions=(ToolPermission(tool="x", required=LIST),)), r"permissions\[0\].required"),
        (lambda: scoped(deny=LIST), r"permissions\[0\].scopes\[0\].deny"),
    ],
)
def test_a_policy_that_a_program_makes_refuses_a_text_where_it_takes_a_list(
    make: Callable[[], Policy], place: str
) -> None:
    with pytest.raises(UsageError, match=rf"{place}: it is a list, and this is 'bash': write \['bash'\]"):
        make()
