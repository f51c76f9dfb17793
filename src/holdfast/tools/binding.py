"""A tool that can be run: its spec and the functions behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Literal

import msgspec

from holdfast.errors import UsageError
from holdfast.flow.clock import SystemClock
from holdfast.safety.secrets.chain import Secrets
from holdfast.sandbox.policy.profile import Ceiling
from holdfast.sandbox.port import Backend, Posture
from holdfast.sandbox.workspace import Workspace
from holdfast.tools.tiers import Tier
from holdfast.types import Attachment, CallId, Digest, Effect, EventId, Limits, StreamId, ToolResult, ToolSpec, Wait

__all__ = ("Helper", "Order", "Output", "Registry", "Suspended", "Tool", "ToolContext", "ToolFailure", "key_of_call")

Output = ToolResult | Wait | Any
"""What a tool's function may return: text, anything that JSON can hold, a whole result, or a wait."""


def key_of_call(stream: StreamId, run: EventId, name: str) -> str:
    """Returns the idempotency key of a call: the same however often the call is made, and of no other, also where its
    session is deleted and another one has its name.
    """
    return f"{stream}/{run}/{name}"


class ToolFailure(Exception):
    """Raised by a tool's function to give the model an error as its result.

    The message is the result's content; any other exception is reported with its type's name as well.
    """

    def __init__(self, message: str, *, metadata: dict[str, Any] | None = None, code: str = "execution_failed") -> None:
        super().__init__(message)
        self.metadata = metadata or {}
        self.code = code


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What another agent is to do on behalf of a call."""

    agent: Any
    """Who does it: an `Agent`, the digest of its spec, or a `Helper`."""
    prompt: str
    workspace: Literal["none", "shared", "forked"] = "none"
    """Which files it works on: none, those of this run, or a copy of them in a folder of its own."""
    seconds: float | None = None
    """How long its answer is waited for; None for ever."""
    phase: bool = False
    """Whether it is a phase of a pipeline."""


class Helper(msgspec.Struct, frozen=True, kw_only=True):
    """An agent without tools that a tool starts."""

    name: str
    instructions: str
    model: str = ""
    """Empty for the run's own, with its key."""
    output: dict[str, Any] | None = None
    """JSON Schema of its answers; None for text."""
    max_output_tokens: int | None = None
    limits: Limits = Limits(steps=4, depth=0)
    """Its dollars bind where the price of its model is known, and otherwise its tokens alone."""


class Suspended(BaseException):
    """Leaves a tool's function because a call it made has to wait; nothing but the gateway may keep it."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait.prompt)
        self.wait = wait


class ToolContext(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a running call may know of its surroundings; a parameter annotated with this type receives it."""

    call_id: CallId
    stream: StreamId
    key: str
    """Idempotency key of this very call: the same after a crash, different in a fork, and in every other session that
    ever has this one's name.
    """
    workspace: Workspace | None = None
    """The folder the call may act in; None when the run was given none."""
    backend: Backend | None = None
    """What commands run in; None when the run was given no folder, or the tool says that it starts none."""
    confined: bool = False
    """Whether commands of the run are kept in a sandbox, so that no other program may look at its workspace either."""
    stored: Callable[[Digest], Awaitable[bytes]] | None = None
    """Reads what an earlier call gave back and was too long for the model, by the name the model was told."""
    nest: Callable[[str, str], Awaitable[ToolResult]] | None = None
    spawner: Callable[[str, Order], Awaitable[Wait | ToolResult]] | None = None
    keep: Callable[[str, str, bytes, str], Awaitable[Attachment]] | None = None
    now: Callable[[], int] = SystemClock().now
    """Tells the time, µs UTC, by the run's clock."""
    sleep: Callable[[float], Awaitable[None]] = SystemClock().sleep
    """Waits so many seconds, by the run's clock."""
    secrets: Secrets | None = None
    """What gives tools that stand elsewhere their credentials."""
    touched: Collection[str] = ()
    """The URLs that calls of this run went to or found so far, as the log has them: the `url` and `finalUrl` of each
    result's metadata, and those in its `urls`. A tool of yours that reads from the web says them there, too.
    """
    kept: Callable[[], Any] | None = None
    """Gives what the call may keep beyond the run: values and files, as a `Kept` of `tools/keeping`."""
    tools: Mapping[str, Tool] = {}
    """Those of the run, by their names: what `call` reaches."""
    agent: str = ""
    """Whose call it is, by name."""
    ceiling: Ceiling = Ceiling()
    """What programs and containers of its own a tool may start, by the word of whoever runs Holdfast."""

    async def spawn(self, order: Order) -> Wait | ToolResult:
        """Starts another agent, once for this call however often it runs, and returns the wait for its answer, which
        the tool returns in turn; or why it may not be started.

        Raises:
            UsageError: this call is not part of a run.
        """
        if self.spawner is None:
            raise UsageError("a tool can start an agent only in a run: give it to an agent")
        return await self.spawner(self.key, order)

    async def call(self, name: str, arguments: Mapping[str, Any] | None = None) -> ToolResult:
        """Returns what another tool of the agent comes to, called as part of this call.

        It passes the gateway as if the model had called it, and is written down below this call. When this call
        runs again after a crash, the calls it made before are not: they are answered from the log, in the order in
        which they were made. So a tool that calls others has to call the same ones again when it runs again.

        Raises:
            UsageError: this call is not part of a run.
        """
        if self.nest is None:
            raise UsageError("a tool can call others only in a run: give it to an agent")
        return await self.nest(name, msgspec.json.encode(arguments or {}).decode())

    async def attach(
        self, name: str, data: bytes | str | None = None, *, path: str | None = None, media_type: str = ""
    ) -> Attachment:
        """Attaches a file to what the call comes to, for whoever the run is for: they get it with the run's result.

        The file is what `data` holds (text as UTF-8), or what the workspace holds at `path` now. The model is not shown
        it. Without a `media_type` the name's ending says what it is. Of a path as a name only the last part counts.

        Raises:
            UsageError: this call is not part of a run, has attached too many files, or names no file.
            InputTooLarge: the file has more than 50 MB.
            SandboxError, OSError: there is no such file in the workspace, or it leads out.
        """
        if self.keep is None:
            raise UsageError("a tool can attach files only in a run: give it to an agent")
        if (data is None) == (path is None):
            raise UsageError("a file is attached from data or from a path in the workspace: give one of the two")
        if path is not None:
            if self.workspace is None:
                raise UsageError("this run has no workspace, so there is no such path: attach the data itself")
            data = (await asyncio.to_thread(self.workspace.contents, path))[0]
        return await self.keep(self.key, name, data.encode() if isinstance(data, str) else data or b"", media_type)


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A spec and what is bound to it."""

    spec: ToolSpec
    parse: Callable[[bytes], Any]
    """Turns the arguments' JSON into what `run` takes.

    Raises:
        msgspec.ValidationError: valid JSON that does not fit; the message names the field.
        msgspec.DecodeError: not JSON.
    """
    run: Callable[[Any, ToolContext], Awaitable[Output]]
    """Does it. May be cancelled at any await."""
    effect: Callable[[Any, Posture], Effect] | None = None
    """The effect of one call, where it depends on the arguments or on what isolates it; the spec's otherwise."""
    check: Callable[[Any, ToolContext], Awaitable[Output | None]] | None = None
    """Of a `checkable` effect: asks whether a call that was begun has happened. Returns what it came to, or None when
    it did not happen; raises when that cannot be told."""
    touches: Callable[[Any], tuple[str, ...]] | None = None
    """The workspace paths one call may change; None when that cannot be told beforehand."""
    tier: Tier = "inside"
    """Where it acts, which decides what its calls are given to act through; see `tools/tiers.py`."""
    delegates: bool = False
    """Whether it only gives a job to another agent: what that one does is asked about itself."""
    inner: tuple[Tool, ...] = ()
    """Tools for its own calls, of which no model is told."""
    helpers: tuple[Helper, ...] = ()
    """Agents that it starts: a run that has it shares its budget with them."""
    declared: str = ""
    """Digest of what it was declared with, where that can be another one day under the same reference: what a person
    allowed is allowed of this alone."""
    close: Callable[[], Awaitable[None]] | None = None
    """Lets go of what it keeps open in the running event loop, such as connections; a later call opens it again."""


class Registry(dict[str, Tool]):
    """The tools of an agent, and those that are there for their calls, by their names."""

    __slots__ = ("closes", "index", "inner", "offered")

    def __init__(self, tools: tuple[Tool, ...]) -> None:
        inner = [(each.spec.name, each) for tool in tools for each in tool.inner]
        super().__init__([*inner, *((tool.spec.name, tool) for tool in tools)])
        self.closes = tuple(each.close for each in self.values() if each.close is not None)
        """What lets go of what they keep open."""
        self.offered = tools
        """Those that the model is told of, or may find."""
        self.inner = frozenset([name for name, _ in inner]).difference([tool.spec.name for tool in tools])
        """Names of those that only tools call."""
        self.index: object = None
        """What finds them by words, once that was wanted; see `tools/finding/index.py`."""
