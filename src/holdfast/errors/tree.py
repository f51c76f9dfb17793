"""Every error Holdfast raises, as one tree.

    HoldfastError
    ├── UsageError                  the call was wrong; nothing happened
    │   ├── UnknownModel            no provider goes by that name
    │   ├── UnknownTool             a tool that is named cannot be found
    │   ├── UnknownSession          no such session in this store
    │   ├── UnknownPrice            a dollar limit needs a price that nobody knows
    │   ├── UndescribableTool       a parameter has no JSON Schema
    │   ├── InputTooLarge           a prompt over the size limit
    │   ├── InboxFull               too much unread mail in a session
    │   ├── LaneFull                too many jobs wait in a lane
    │   ├── SessionBusy             a prompt that wanted an idle session
    │   ├── SessionExited           a session that takes nothing more
    │   └── UnknownWait             nothing waits under that token
    ├── JournalError
    │   ├── Fenced                  a newer owner writes this stream: stop, touch nothing
    │   ├── LeaseHeld               another owner is alive
    │   ├── Corrupt                 the log contradicts itself: our bug, or damage
    │   └── NotOwnable              the log holds events this version must not continue
    ├── StorageError
    │   ├── StorageLocked           another program holds the database
    │   ├── StorageReadOnly         the database cannot be written
    │   ├── StorageFull             no space left; what was written is safe
    │   └── StorageDamaged          not a database, or a damaged one
    ├── NetError                    an HTTP exchange did not come about or broke
    │   ├── AddressBlocked          the address guard refused a connection
    │   ├── RequestRefused          a URL, header or redirect this client does not follow
    │   ├── ConnectionBroken        it broke before the answer was whole
    │   │   └── NotConnected        there was none, so nothing was sent
    │   ├── NetTimeout              connecting took too long, or the other side went silent
    │   ├── ProtocolError           what came back is not HTTP, or not what HTTP allows
    │   └── AnswerTooLarge          a body, or one event of a stream, over its bound
    ├── DeliveryError               a target did not take a delivery, or nobody knows whether it did
    │   ├── DeliveryRefused         it will not take it, now or later
    │   └── NotDelivered            nothing arrived there; later it may
    ├── SandboxError
    │   ├── IsolationMissing        a layer that is required is not to be had here; nothing was started
    │   ├── PathEscape              a path that leads out of the workspace
    │   ├── SandboxesFull           as many sandboxes live on this machine as there may be
    │   └── WorkspaceBusy           somebody else is changing the files of the workspace
    └── ModelError                  a model call ended without an answer
        ├── RateLimited · Overloaded · ServerError · ModelTimeout · ConnectionFailed   try again later
        │   └── Unreachable         nothing was sent, so nothing was spent
        ├── Malformed               the answer broke its protocol; try again
        ├── AuthFailed              do not try again
        │   └── NoCredit            the account may not spend more
        └── ContextOverflow · InvalidRequest                                           do not try again
            ├── ModelNotFound       the provider has no model of that name, or serves none at the address
            └── MediaUnsupported    a picture or document that cannot be made into what the target takes

Waiting, approval and cancellation are outcomes, not errors: they never appear here. A tool's failure is data
too (`holdfast.types.ToolError`), because the model reads it.

Each class says when a retry makes sense (`never`, `now`, `later`) and who can do something about it
(`model`, `user`, `operator`). `code` is stable: logs and programs may depend on it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

__all__ = (
    "AddressBlocked",
    "AnswerTooLarge",
    "AuthFailed",
    "ConnectionBroken",
    "ConnectionFailed",
    "ContextOverflow",
    "Corrupt",
    "DeliveryError",
    "DeliveryRefused",
    "Fenced",
    "HoldfastError",
    "InboxFull",
    "InputTooLarge",
    "InvalidRequest",
    "IsolationMissing",
    "JournalError",
    "LaneFull",
    "LeaseHeld",
    "Malformed",
    "MediaUnsupported",
    "ModelError",
    "ModelNotFound",
    "ModelTimeout",
    "NetError",
    "NetTimeout",
    "NoCredit",
    "NotConnected",
    "NotDelivered",
    "NotOwnable",
    "Overloaded",
    "PathEscape",
    "ProtocolError",
    "RateLimited",
    "RequestRefused",
    "SandboxError",
    "SandboxesFull",
    "ServerError",
    "SessionBusy",
    "SessionExited",
    "StorageDamaged",
    "StorageError",
    "StorageFull",
    "StorageLocked",
    "StorageReadOnly",
    "UndescribableTool",
    "UnknownModel",
    "UnknownPrice",
    "UnknownSession",
    "UnknownTool",
    "UnknownWait",
    "Unreachable",
    "UsageError",
    "WorkspaceBusy",
)

Retry = Literal["never", "now", "later"]
Audience = Literal["model", "user", "operator"]


class HoldfastError(Exception):
    """The root: catch it to catch everything Holdfast raises on purpose."""

    code: ClassVar[str] = "error"
    retry: ClassVar[Retry] = "never"
    audience: ClassVar[Audience] = "user"


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


class JournalError(HoldfastError):
    """The durable log refused."""

    code = "journal"
    audience = "operator"


class Fenced(JournalError):
    """A newer owner has this stream; the loser stops and touches nothing more."""

    code = "fenced"


class LeaseHeld(JournalError):
    """Another owner's lease on the stream has not run out."""

    code = "lease_held"
    retry = "later"

    def __init__(self, message: str, *, owner: str = "", epoch: int = 0, until: int = 0) -> None:
        super().__init__(message)
        self.owner = owner
        """Who holds the lease."""
        self.epoch = epoch
        """The epoch a claim would have to replace."""
        self.until = until
        """When the lease runs out, µs UTC by the store's clock."""


class Corrupt(JournalError):
    """The log and its owner disagree though the epoch is right: a bug or damage, never a race."""

    code = "corrupt"


class NotOwnable(JournalError):
    """The log holds an event this version must understand and does not: it may be shown, not continued."""

    code = "not_ownable"
    audience = "user"


class StorageError(HoldfastError):
    """The database refused."""

    code = "storage"
    audience = "operator"


class StorageLocked(StorageError):
    """Another program kept the database locked longer than we wait."""

    code = "storage_locked"
    retry = "later"


class StorageReadOnly(StorageError):
    """The database or its folder cannot be written."""

    code = "storage_read_only"


class StorageFull(StorageError):
    """No space is left; nothing of the refused batch was written, everything before it is safe."""

    code = "storage_full"
    retry = "later"


class StorageDamaged(StorageError):
    """The file is not a database, or its pages are damaged."""

    code = "storage_damaged"


class NetError(HoldfastError):
    """An HTTP exchange did not come about, or broke before it was over."""

    code = "net"


class AddressBlocked(NetError):
    """The address guard does not let this address be reached."""

    code = "address_blocked"


class RequestRefused(NetError):
    """The URL, a header or a redirect is one that the client does not send or follow; nothing was sent there."""

    code = "request_refused"


class ConnectionBroken(NetError):
    """There was no connection, or it broke before the answer was whole."""

    code = "connection_broken"
    retry = "later"
    audience = "operator"


class NotConnected(ConnectionBroken):
    """No connection came about: a wrong name or port, nobody there, or no trust. Nothing of the request was sent."""

    code = "not_connected"


class NetTimeout(NetError):
    """Connecting took too long, or the other side went silent."""

    code = "net_timeout"
    retry = "later"
    audience = "operator"


class ProtocolError(NetError):
    """What came back is not HTTP, or not what HTTP allows."""

    code = "net_protocol"
    retry = "later"
    audience = "operator"


class AnswerTooLarge(NetError):
    """A body, or one event of a stream, is larger than its bound; the connection was dropped."""

    code = "answer_too_large"
    audience = "operator"


class DeliveryError(HoldfastError):
    """A target did not take a delivery; it may have arrived all the same."""

    code = "delivery"
    retry = "later"
    audience = "operator"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the target asked us to wait; None when it did not say."""


class DeliveryRefused(DeliveryError):
    """The target did not take the delivery and will not take it later either."""

    code = "delivery_refused"
    retry = "never"


class NotDelivered(DeliveryError):
    """Nothing of the delivery arrived, for certain, so that it may be tried again whatever the target promises."""

    code = "not_delivered"


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


class ModelError(HoldfastError):
    """A model call ended without an answer; the subclass says how.

    `status` is the HTTP status where there was one, else 0.
    """

    code = "model"
    retry = "later"
    audience = "operator"

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds the provider asked us to wait; None when it did not say."""


class RateLimited(ModelError):
    """The provider counts too many requests or tokens; `retry_after` says how long it wants to be left alone."""

    code = "rate_limit"


class Overloaded(ModelError):
    """The provider has no capacity at the moment."""

    code = "overloaded"


class AuthFailed(ModelError):
    """The key is missing, wrong or not allowed to use the model."""

    code = "auth"
    retry = "never"
    audience = "user"


class NoCredit(AuthFailed):
    """The account that the key belongs to may not spend more; another provider's may."""

    code = "no_credit"


class InvalidRequest(ModelError):
    """The provider understood the request and refuses it."""

    code = "invalid_request"
    retry = "never"


class ModelNotFound(InvalidRequest):
    """The provider has no model of that name for us, or serves none at the address; another model may be there."""

    code = "model_not_found"
    audience = "user"


class MediaUnsupported(InvalidRequest):
    """A picture or document is none that the target takes, and cannot be made into one; nothing was sent.

    It says nothing about the target's health: another model may take what this one does not.
    """

    code = "media_unsupported"
    audience = "user"


class ContextOverflow(ModelError):
    """The request is longer than the model's context window, or larger than its server takes."""

    code = "context_overflow"
    retry = "never"


class ServerError(ModelError):
    """The provider failed."""

    code = "server_error"


class ConnectionFailed(ModelError):
    """No connection, or it broke before the answer was whole."""

    code = "connection"


class Unreachable(ConnectionFailed):
    """No connection came about, so that nothing was sent and nothing can have been spent."""

    code = "unreachable"


class ModelTimeout(ModelError):
    """The provider went silent for too long."""

    code = "timeout"


class Malformed(ModelError):
    """What came back is not the protocol that was asked for."""

    code = "malformed"
    retry = "now"
