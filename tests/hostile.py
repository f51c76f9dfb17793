"""Exports as somebody writes them who means harm: trees that lead elsewhere, and a session with everything in it that
anybody might act on.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from tests.archives import exported, write
from tests.running import MODEL, answer

from holdfast.engine.events import (
    AccountOpened,
    FilesKept,
    Forked,
    InputDropped,
    InputReceived,
    LimitsRaised,
    ModelFinished,
    ModelStarted,
    Nested,
    Paused,
    PhaseStarted,
    ProcessStarted,
    Rewound,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.letters import Outcome, Setup
from holdfast.engine.lineage import Ancestor, Lineage
from holdfast.journal.owning import BLOB_BYTES
from holdfast.runtime.runtime import Runtime
from holdfast.sandbox.snapshots.entries import Entry, Manifest, encode_manifest
from holdfast.sandbox.workspace import Workspace
from holdfast.types import (
    AgentSpec,
    AssistantMessage,
    Attachment,
    CallId,
    Control,
    Digest,
    Effect,
    SnapshotRef,
    StreamId,
    TenantId,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
    Wait,
    digest_of,
)

__all__ = ("blob_lines", "laden", "sealed", "sealed_again", "tree", "with_tree")

S = StreamId("local/s")
LOCAL = TenantId("local")


def sealed(lines: list[bytes]) -> io.BytesIO:
    """Returns a file of these lines whose end fits them."""
    body = b"".join(line + b"\n" for line in lines)
    try:
        events = json.loads(lines[0])["events"]
    except (ValueError, LookupError, TypeError, RecursionError):
        events = 0
    blobs = sum(line.startswith(b'{"blob":') for line in lines)
    end = {"events": events, "blobs": blobs, "missing": 0, "sha256": digest_of(body).removeprefix("sha256:")}
    return io.BytesIO(body + json.dumps({"end": end}, separators=(",", ":")).encode() + b"\n")


def sealed_again(file: bytes, change: Callable[[list[bytes]], None]) -> io.BytesIO:
    """Returns a file whose lines were changed, with an end that fits them."""
    lines = file.splitlines()[:-1]
    change(lines)
    return sealed(lines)


def blob_lines(data: bytes) -> list[bytes]:
    """Returns a blob as it stands in a file."""
    head = json.dumps({"blob": digest_of(data), "size": len(data), "of": []}, separators=(",", ":")).encode()
    return [head, b'{"data":"' + base64.b64encode(data) + b'"}'] if data else [head]


def tree(*folders: Iterable[Entry], contents: Iterable[bytes] = (), files: int = 1) -> tuple[SnapshotRef, list[bytes]]:
    """Returns a snapshot whose root is the last of the folders, and all blobs it needs."""
    blobs = [*contents, *map(_packed, folders)]
    manifest = encode_manifest(Manifest(root=digest_of(blobs[-1]), mode=0o755, files=files, size=1))
    return SnapshotRef("tree", digest_of(manifest), whole=True), [*blobs, manifest]


def _packed(entries: Iterable[Entry]) -> bytes:
    """Returns a folder in the order in which somebody wrote it."""
    return msgspec.msgpack.encode([1, tuple(entries)])


def with_tree(file: bytes, ref: SnapshotRef, blobs: Iterable[bytes]) -> io.BytesIO:
    """Returns a file whose session has these files."""

    def change(lines: list[bytes]) -> None:
        header = json.loads(lines[0])
        header["files"] = [msgspec.to_builtins(ref)]
        lines[0] = json.dumps(header, separators=(",", ":")).encode()
        for each in blobs:
            lines.extend(blob_lines(each))

    return sealed_again(file, change)


def _setups(home: Path, spec: Digest, long: Digest, whole: SnapshotRef) -> tuple[Setup, Setup]:
    """Returns how the runs are set up: for somebody, with a folder and targets; and as a part of another session's."""
    line = (Ancestor(StreamId("local/victim"), spec),)
    lineage = Lineage(
        "child:s", line, str(home / "project"), (whole,), ("local", "user", "victim"), family=("local", "x")
    )
    setup = Setup(
        spec,
        MODEL,
        workspace=str(home / "project"),
        effects={"bash": "none"},
        control=Control(review=1),
        user="alice",
        agents=(spec,),
        deliver=("t", f"file:{home / 'delivered'}"),
        files=(Attachment("in.txt", "text/plain", long, 45_000),),
        priority=9,
    )
    return setup, msgspec.structs.replace(setup, lineage=lineage)


async def laden(runtime: Runtime, home: Path) -> bytes:
    """Writes a session that names, in every way there is, what stands in a person's `home`; returns its export."""
    blobs, project = runtime.journal.blobs, home / "project"
    sandbox = runtime._sandboxes.at(LOCAL, project)
    whole = await sandbox.snapshots.capture(Workspace(project))
    named = await sandbox.snapshots.capture(Workspace(project), ["src/work.py", "new/deep.txt"])
    spec = await blobs.put(LOCAL, msgspec.json.encode(AgentSpec(name="evil", instructions="", model=MODEL)))
    long = await blobs.put(LOCAL, b"long " * 9000)
    setup, child = _setups(home, spec, long, whole)
    said = UserMessage((Text("go"),))
    calls = (ToolCall(CallId("c0"), "bash", '{"command":"true"}'), ToolCall(CallId("c1"), "write", "{}"))
    wants = ModelFinished(AssistantMessage((Text("x" * BLOB_BYTES), *calls), MODEL, "tool_calls", Usage(9, 9)), 1)
    asked = Wait("approval:5/c1:0", "approval", digest=Digest("sha256:" + "0" * 64), grant=Digest("sha256:1"))
    files = Effect(workspace=True)
    await write(
        runtime.journal,
        S,
        (InputReceived("prompt", said, child), "k1"),
        RunStarted(1, child),
        AccountOpened(("local", "alice", "s", "s/2")),
        ModelStarted(10, 10),
        wants,
        ToolStarted(CallId("c0"), files, whole, absent=(".git/hooks", "src")),
        ToolStarted(CallId("n0"), files, named, nested=Nested(CallId("c0"), "write", "{}")),
        ToolFinished(CallId("n0"), ToolResult("ok"), nested=Nested(CallId("c0"), "write", "{}")),
        ProcessStarted("deadbeef", "server", "sleep 9", CallId("c0"), 1, (".git/hooks", "src", "..")),
        ToolFinished(CallId("c0"), ToolResult("long", stored=long)),
        ToolWaiting(CallId("c1"), asked),
        WaitResolved(asked.token, "always"),
        ToolStarted(CallId("c1"), files, named),
        ToolFinished(CallId("c1"), ToolResult("ok")),
        FilesKept(whole),
        answer("done"),
        RunFinished("completed", steps=2, files=whole),
        (InputReceived("prompt", said, setup), "k2"),
        InputDropped(18),
        Forked("local/victim", 19, str(project), (whole,)),
        (InputReceived("prompt", said, child), "k3"),
        RunStarted(21, child),
        answer("", "agent"),
        ToolWaiting(CallId("c0"), Wait("child:c-0", "child", 1, subject="victim")),
        LimitsRaised("k3", 60.0, 5),
        Rewound(23, (whole,), str(project)),
        (InputReceived("prompt", said, child), "k4"),
        RunStarted(27, child),
        PhaseStarted(0, Wait("child:c-1", "child", 1, subject="victim")),
        WaitResolved("child:c-9", "yes", outcome=Outcome("completed")),
        Paused("wait"),
        (InputReceived("steer", said, run="k4"), "passed:1"),
    )
    return await exported(runtime)
