"""The call was wrong and nothing happened: what was named is not there, or does not fit."""

from __future__ import annotations

from holdfast.errors.root import HoldfastError

__all__ = (
    "InboxFull",
    "InputTooLarge",
    "LaneFull",
    "PolicyDenied",
    "SecretMissing",
    "SessionBusy",
    "SessionExited",
    "UndescribableTool",
    "UnknownModel",
    "UnknownPrice",
    "UnknownSession",
    "UnknownTool",
    "UnknownWait",
    "UsageError",
)


class UsageError(HoldfastError):
    """The call was wrong and nothing happened."""

    code = "usage"


class UnknownModel(UsageError):
    """No provider goes by the name in front of the slash."""

    code = "unknown_model"


class UnknownTool(UsageError):
    """A tool named by an agent cannot be found in this process."""

    code = "unknown_tool"


class UnknownSession(UsageError):
    """The store holds no session of that name."""

    code = "unknown_session"


class UnknownPrice(UsageError):
    """A dollar limit is set and nobody knows what the model costs."""

    code = "unknown_price"


class UndescribableTool(UsageError):
    """A tool has a parameter that JSON Schema cannot describe."""

    code = "undescribable_tool"


class InputTooLarge(UsageError):
    """A prompt is larger than a session accepts."""

    code = "input_too_large"


class InboxFull(UsageError):
    """A session holds as much unread mail as it may."""

    code = "inbox_full"
    retry = "later"


class LaneFull(UsageError):
    """A lane, or one user of it, has as many jobs waiting as it may."""

    code = "lane_full"
    retry = "later"


class SessionBusy(UsageError):
    """A prompt asked for an idle session and found a run in it."""

    code = "session_busy"
    retry = "later"


class SessionExited(UsageError):
    """A session has ended for good and takes nothing more."""

    code = "session_exited"


class UnknownWait(UsageError):
    """Nothing in the session waits, or waited, under that token."""

    code = "unknown_wait"


class SecretMissing(UsageError):
    """Nobody knows the value of a secret."""

    code = "secret_missing"
    audience = "operator"


class PolicyDenied(UsageError):
    """The policy of the runtime does not let an agent ask a model, or have a tool."""

    code = "policy_denied"
    audience = "operator"
