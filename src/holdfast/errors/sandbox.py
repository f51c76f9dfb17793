"""What the place refuses in which tools act."""

from __future__ import annotations

from holdfast.errors.root import HoldfastError

__all__ = (
    "IsolationMissing",
    "PathEscape",
    "SandboxError",
    "SandboxesFull",
    "WorkspaceBusy",
)


class SandboxError(HoldfastError):
    """The place where tools act refused."""

    code = "sandbox"


class PathEscape(SandboxError):
    """A path leads out of the workspace."""

    code = "path_escape"
    audience = "model"


class IsolationMissing(SandboxError):
    """A sandbox cannot be had here as it is required: nothing was started, and nothing weaker is taken instead."""

    code = "isolation_missing"
    audience = "operator"


class SandboxesFull(SandboxError):
    """As many sandboxes live on this machine as the profile allows; nothing was started."""

    code = "sandboxes_full"
    retry = "later"
    audience = "operator"


class WorkspaceBusy(SandboxError):
    """Somebody else was changing the files of the workspace for as long as was waited; nothing was done."""

    code = "workspace_busy"
    retry = "later"
