"""What can go wrong with a call, in one table: the codes, the finer reason of each, and what each means for a retry.

Source: Orloj 3.2. A tool elsewhere may give a reason of its own; code, status and the meaning for a retry are from here
where it says nothing, or something nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from holdfast.types import ToolError

__all__ = ("TAXONOMY", "Kind", "fault_of")


class Kind(msgspec.Struct, frozen=True, gc=False):
    """One way to fail."""

    reason: str
    status: Literal["error", "denied"] = "error"
    retryable: bool = False
    """Whether the same call may go well a moment later. Whether it is made again depends on its effect, too."""


TAXONOMY: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "invalid_input": Kind("tool_invalid_input"),
        "unsupported_tool": Kind("tool_unsupported"),
        "runtime_policy_invalid": Kind("tool_runtime_policy_invalid"),
        "isolation_unavailable": Kind("tool_isolation_unavailable"),
        "permission_denied": Kind("tool_permission_denied", "denied"),
        "secret_resolution_failed": Kind("tool_secret_resolution_failed"),
        "timeout": Kind("tool_execution_timeout", retryable=True),
        "canceled": Kind("tool_execution_canceled"),
        "execution_failed": Kind("tool_backend_failure", retryable=True),
        "auth_expired": Kind("tool_auth_expired"),
        "auth_invalid": Kind("tool_auth_invalid"),
        "auth_forbidden": Kind("tool_auth_forbidden"),
        "approval_pending": Kind("tool_approval_pending"),
        "approval_denied": Kind("tool_approval_denied", "denied"),
        "approval_timeout": Kind("tool_approval_timeout", "denied"),
    }
)
"""By their codes."""


def fault_of(code: str, reason: str = "", *, denied: bool = False, retryable: bool | None = None) -> ToolError:
    """Returns an error of the taxonomy; a code that is none of it is one of a backend that failed."""
    known = code if code in TAXONOMY else "execution_failed"
    kind = TAXONOMY[known]
    return ToolError(
        known,
        reason or kind.reason,
        "denied" if denied else kind.status,
        retryable=kind.retryable if retryable is None else retryable,
    )
