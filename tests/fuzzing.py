"""Schemathesis with all its checks against a whole server; `make fuzz-server` runs it for as long as it is told.

    python -m tests.fuzzing --seconds 600 --examples 200

writes what it tried and what it found to `campaign-results/server-fuzz.json`, and fails where it found anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.standing import ADMIN, AGENTOPS_ROUTES, SERVED, standing

from holdfast.server.routing.openapi import document_of
from holdfast.server.routing.route import Route

__all__ = ("Found", "fuzz")

PHASES = "examples,coverage,fuzzing,stateful"
RESULTS = Path("campaign-results")

GONE = "410"
"""What ended for good is gone as what was deleted is (404): the check knows that one only."""

STATE = "what is named has to be there, and to be idle or open: which of them are, no schema says"
WORDS = "either words or parts, and a key that can be shown: JSON Schema says of each what it is, not of both"
PROTOCOL = "the protocol of somebody else, of which a schema says the outline: the rest is refused by name as theirs do"
BEYOND: Sequence[tuple[str, tuple[str, ...], str]] = (
    ("POST /v1/sessions", ("400", "422"), WORDS + "; an agent has to be there"),
    ("POST /v1/sessions/{session}/prompts", ("400", "422"), WORDS + "; an agent has to be there"),
    ("POST /v1/sessions/{session}/proceed", ("400", "422"), STATE),
    ("POST /v1/sessions/{session}/steer", ("400",), WORDS),
    ("POST /v1/sessions/{session}/follow-up", ("400",), WORDS),
    ("POST /v1/sessions/{session}/pause", ("400",), WORDS),
    ("POST /v1/sessions/{session}/resume", ("400",), WORDS),
    ("POST /v1/sessions/{session}/abort", ("400",), WORDS),
    ("POST /v1/sessions/{session}/exit", ("400",), WORDS),
    ("POST /v1/sessions/{session}/waits/{token}", ("400", "422"), "an answer has to fit what was asked"),
    ("POST /v1/sessions/{session}/fork", ("400",), STATE),
    ("POST /v1/sessions/{session}/rewind", ("400",), STATE),
    ("GET /v1/sessions/{session}/diff", ("400",), STATE),
    ("POST /v1/imports", ("400",), "an export is lines with checksums, which nobody makes up"),
    ("POST /v1/callbacks", ("400",), "the answer of a tool is read as its contract says"),
    ("POST /v1/callbacks/{token}", ("400",), "the answer of a tool is read as its contract says"),
    ("POST /v1/chat/completions", ("400", "413", "422"), PROTOCOL),
    ("POST /v1/responses", ("400", "413", "422"), PROTOCOL),
    ("POST /v1/responses/input_tokens", ("400", "413", "422"), PROTOCOL),
    ("POST /v1/messages", ("400", "413", "422"), PROTOCOL),
    ("POST /v1/messages/count_tokens", ("400", "413", "422"), PROTOCOL),
    ("POST /v1/responses/{id}/cancel", ("400",), STATE),
    ("POST /v1/embeddings", ("400",), "an agent makes no vectors, and each model has its own dimensions"),
    ("POST /memory/extract", ("400",), STATE),
)
"""Where what fits its schema may be refused all the same, with which statuses, and why: of these routes alone the check
that what fits is accepted expects them too. No check is switched off.
"""
ACCEPTED = ("2xx", "3xx", "401", "403", "404", "409", "429", "5xx", GONE)
"""5xx is another check's to find."""
REFUSED = ("4xx",)
"""What does not fit is refused, with any word for it: a body that is too large (413) before anybody looks whether it
fits, and one for a session that ended (410) before it is read.
"""

CONFIG = """
request-timeout = 4
continue-on-failure = true
warnings = false

[headers]
Authorization = "Bearer {key}"

[checks.positive_data_acceptance]
expected-statuses = {accepted}

[checks.negative_data_rejection]
expected-statuses = {refused}

[phases.stateful]
max-steps = 8

# Streams that have no end are left after their first event.
[[operations]]
include-name = "GET /v1/sessions/{{session}}/events"
max-stream-events = 3
parameters = {{ "query.until" = "idle" }}

[[operations]]
include-name = "GET /events"
max-stream-events = 1
"""


def config(key: str) -> str:
    """Returns what schemathesis is told of these servers."""
    told = [CONFIG.format(key=key, accepted=json.dumps(ACCEPTED), refused=json.dumps(REFUSED))]
    for operation, statuses, why in BEYOND:
        expected = json.dumps((*ACCEPTED, *statuses))
        told.append(f"# {why}\n[[operations]]\ninclude-name = {json.dumps(operation)}")
        told.append(f"[operations.checks.positive_data_acceptance]\nexpected-statuses = {expected}\n")
    return "\n".join(told)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of schemathesis came to."""

    door: str
    routes: int
    passed: bool
    cases: int
    server_errors: int
    unforeseen: tuple[str, ...]
    """Errors of the server that it answered with 500."""
    seconds: float
    seed: int
    said: str
    """The end of what schemathesis said; empty where it found nothing."""


async def fuzz(
    door: str,
    routes: Sequence[Route],
    folder: Path,
    *,
    examples: int,
    phases: str = PHASES,
    seconds: int | None = None,
    seed: int = 1,
    more: Sequence[str] = (),
) -> Found:
    """Returns what schemathesis found in a server of these routes."""
    began = time.monotonic()
    async with standing(routes, seconds=3600) as server:
        (folder / "schemathesis.toml").write_text(config(ADMIN))
        (folder / "openapi.json").write_text(json.dumps(document_of(routes)))
        report = folder / "report.json"
        command = (
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(folder / "schemathesis.toml")),
            *("run", str(folder / "openapi.json"), "--url", server.url, "--checks", "all", "--phases", phases),
            *("-n", str(examples), "--seed", str(seed), "--no-color"),
            *("--report", "json", "--report-json-path", str(report)),
            *(() if seconds is None else ("--max-time", str(seconds))),
            *more,
        )
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said = (await process.communicate())[0].decode()
        unforeseen = tuple(server.unforeseen.errors)
    told: dict[str, Any] = json.loads(report.read_bytes()) if report.exists() else {}
    (folder / "said.txt").write_text(said)
    return Found(
        door=door,
        routes=sum(1 for each in routes if each.described),
        passed=process.returncode == 0 and not unforeseen,
        cases=int(told.get("test_cases", {}).get("generated", 0)),
        server_errors=len(unforeseen),
        unforeseen=unforeseen[:20],
        seconds=round(time.monotonic() - began, 1),
        seed=seed,
        said="" if process.returncode == 0 else _readable(said),
    )


def _readable(said: str) -> str:
    """Returns what schemathesis said, its longest lines and its beginning cut."""
    return "\n".join(line[:1000] for line in said.splitlines())[-6000:]


def main() -> None:
    """Fuzzes both servers, and writes what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=int, default=None, help="for each server; without it, all examples once")
    parser.add_argument("--examples", type=int, default=50, help="for each route and phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phases", default=PHASES)
    parser.add_argument("--door", choices=("served", "agentops", "both"), default="both")
    parser.add_argument("--folder", type=Path, default=None, help="where to keep all that was said")
    parser.add_argument("more", nargs="*", help="for schemathesis")
    told = parser.parse_args()
    doors = {"served": SERVED, "agentops": AGENTOPS_ROUTES}
    found: list[Found] = []
    for door, routes in doors.items():
        if told.door in (door, "both"):
            with tempfile.TemporaryDirectory() as made:
                folder = (told.folder or Path(made)) / door
                folder.mkdir(parents=True, exist_ok=True)
                options = {"phases": told.phases, "seconds": told.seconds, "seed": told.seed, "more": told.more}
                found.append(asyncio.run(fuzz(door, routes, folder, examples=told.examples, **options)))
            print(f"{door}: {found[-1].cases} cases, {'passed' if found[-1].passed else found[-1].said}")
    _write(found)
    sys.exit(not all(each.passed for each in found))


def _write(found: Sequence[Found]) -> None:
    """Writes what was found, beside what the other server came to before."""
    RESULTS.mkdir(exist_ok=True)
    place = RESULTS / "server-fuzz.json"
    before = msgspec.json.decode(place.read_bytes(), type=list[Found]) if place.exists() else []
    kept = [each for each in before if each.door not in {one.door for one in found}]
    place.write_bytes(msgspec.json.format(msgspec.json.encode([*kept, *found])))


if __name__ == "__main__":
    main()
