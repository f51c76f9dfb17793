r"""What a scripted model says: turns, the conditions under which it says them, and how the right one is found.

A script is a list of turns, or a function that is given the request and returns a turn. It keeps no position: the
request itself says where its conversation stands, so a client that was killed and starts again, or a thousand
clients at once, each get the turn that belongs to them.

The rule, for a list:

1. Turns with `when` are tried first, in their order; the first whose every condition holds is given.
2. The turns without `when` are a sequence. A conversation that holds n answers of the model gets number n + 1.
3. When neither gives a turn, the request is unexpected.

Answers given by rule 1 count in rule 2 too; a turn that must come at a certain place *and* under a condition says
`when: {answers: n, …}`.

A fixture is a YAML or JSON file with either `turns` (one script, whatever the model is called) or `scripts` (several,
chosen by the name of the model; a client that calls `openai/repair` sends the name `repair`, and a script called
`scripted` answers every other name):

```yaml
turns:
  - text: I run the tests first.          # all keys of a turn are optional
    thinking: Where to begin?             # reasoning, sent where the protocol has a place for it
    signature: c2lnbmVk                   # what the client must give back with it, where the protocol knows such
    redacted: ZW5jcnlwdGVk                # reasoning only the provider can read, where the protocol knows such
    calls:
      - name: bash
        arguments: {command: pytest -q}   # a table, or a string that is sent as it is, damaged or not
        id: call_0_0                      # left out: `call_<answers so far>_<number in the turn>`
    usage: {input_tokens: 100, output_tokens: 20, cache_read_tokens: 0, cache_write_tokens: 0, reasoning_tokens: 0}
    stop: tool_calls                      # stop, length, tool_calls or refusal; left out: follows from `calls`
    delay: 0.5                            # seconds before the first byte
    chunk: 24                             # characters of each streamed piece
    fault: {kind: reset, after_events: 3, times: 1}   # see `faults.py`; a list is played in sequence
  - text: All 15 tests pass.
    when:                                 # every condition that is given must hold
      model: repair                       # the model's name
      answers: 1                          # answers of the model in the conversation
      tool_results: 1                     # results of tools in the conversation
      user_contains: tests                # text of the last message of a person
      user_matches: "(?i)fix|repair"      # the same, as a regular expression found anywhere in it
      result_contains: "15 passed"        # text of the last result of a tool
      result_matches: '\d+ passed'
      instructions_contain: You repair    # the system prompt
      offers: bash                        # a tool that the request offers
  - raw: {status: 200, headers: {content-type: application/json}, body: '{"choices": []}'}   # bytes as they are
```

```yaml
scripts:
  hello: [{text: Hello.}]
  repair: [{calls: [{name: read, arguments: {path: tally/sheet.py}}]}, {text: Repaired.}]
```
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from holdfast.models.wire.served import ServedRequest
from holdfast.testing.faults import Count, Fault, Seconds, StatusCode
from holdfast.types import (
    AssistantMessage,
    CallId,
    Message,
    Part,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)

__all__ = (
    "ANY_MODEL",
    "Call",
    "Canned",
    "Script",
    "ScriptFunction",
    "ScriptRequest",
    "Tokens",
    "Turn",
    "When",
    "find_turn",
)

ANY_MODEL = "scripted"
"""The script of this name, which is also that of a script without one, answers every model that has none of its own."""


class ScriptRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked, as conditions and script functions see it."""

    model: str
    """As sent, without a provider."""
    instructions: str
    messages: Sequence[Message]
    tools: tuple[str, ...]
    """Names of the tools on offer."""
    stream: bool
    headers: Mapping[str, str]
    """Names in lower case."""
    answers: int
    """How many answers of the model the conversation holds: the place of the next one."""
    tool_results: int
    first_user_text: str
    last_user_text: str
    last_result: str | None
    """What the last tool said; None when none has."""

    @classmethod
    def read(cls, asked: ServedRequest, headers: Mapping[str, str]) -> ScriptRequest:
        """Returns the request with everything that follows from its messages."""
        users = [message.text for message in asked.messages if isinstance(message, UserMessage)]
        results = [message.content for message in asked.messages if isinstance(message, ToolMessage)]
        return cls(
            model=asked.model,
            instructions=asked.instructions,
            messages=asked.messages,
            tools=tuple(tool.name for tool in asked.tools),
            stream=asked.stream,
            headers=headers,
            answers=len(asked.messages) - len(users) - len(results),
            tool_results=len(results),
            first_user_text=users[0] if users else "",
            last_user_text=users[-1] if users else "",
            last_result=results[-1] if results else None,
        )


class Call(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A tool the model asks for."""

    name: str
    arguments: dict[str, Any] | str = {}
    """An object, or text that is sent as it is."""
    id: str = ""
    """Empty follows from the place of the turn and of the call in it."""


class Tokens(Usage, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What a turn claims to have used."""

    input_tokens: Count = 100
    output_tokens: Count = 20
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    reasoning_tokens: Count = 0


class Canned(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An answer as bytes."""

    status: StatusCode = 200
    headers: dict[str, str] = {}
    """Sent as they are; `content-length` is added."""
    body: str = ""
    """Sent as UTF-8."""
    data: bytes = b""
    """In place of `body` where it is no text; base64 in a fixture."""

    def __post_init__(self) -> None:
        if self.body and self.data:
            raise ValueError("body and data exclude each other: keep one")
        for name, value in self.headers.items():
            if re.search(r"[\r\n]", name + value) or name.lower() in ("content-length", "transfer-encoding"):
                raise ValueError(f"header {name!r} is not one a script may give: framing is added, line breaks are not")


class When(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Conditions; those that are given must all hold."""

    model: str | None = None
    answers: Count | None = None
    tool_results: Count | None = None
    user_contains: str | None = None
    user_matches: str | None = None
    result_contains: str | None = None
    result_matches: str | None = None
    instructions_contain: str | None = None
    offers: str | None = None

    def __post_init__(self) -> None:
        for pattern in (self.user_matches, self.result_matches):
            try:
                _compiled(pattern or "")
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression ({error})") from None

    def fits(self, request: ScriptRequest) -> bool:
        """Whether every condition holds."""
        return (
            self.model in (None, request.model)
            and self.answers in (None, request.answers)
            and self.tool_results in (None, request.tool_results)
            and (self.offers is None or self.offers in request.tools)
            and (self.instructions_contain is None or self.instructions_contain in request.instructions)
            and _says(request.last_user_text, self.user_contains, self.user_matches)
            and _says(request.last_result, self.result_contains, self.result_matches)
        )


class Turn(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One answer of the model."""

    text: str = ""
    calls: Sequence[Call] = ()
    thinking: str = ""
    usage: Tokens = Tokens()
    stop: StopReason | None = None
    """None is `tool_calls` when there are calls, else `stop`."""
    delay: Seconds = 0
    """Seconds before the first byte."""
    chunk: Annotated[int, msgspec.Meta(ge=1)] = 24
    """Characters of each streamed piece."""
    fault: Fault | Sequence[Fault] | None = None
    """What goes wrong; several are played one after another, each as often as its `times` says."""
    when: When | None = None
    raw: Canned | None = None
    """Bytes in place of everything the model says."""
    signature: str = ""
    """Of the thinking, where the protocol has signatures."""
    redacted: str = ""
    """Reasoning nobody can read, after the thinking, where the protocol has such."""

    def __post_init__(self) -> None:
        if self.raw is not None and (self.text or self.calls or self.thinking):
            raise ValueError("raw excludes text, calls and thinking: keep one of them")

    def message(self, model: str, answers: int) -> AssistantMessage:
        """Returns what the model says at that place of a conversation."""
        parts: list[Part] = []
        if self.thinking or self.signature:
            parts.append(Thinking(self.thinking, self.signature))
        if self.redacted:
            parts.append(Thinking("", redacted=self.redacted))
        if self.text:
            parts.append(Text(self.text))
        for number, call in enumerate(self.calls):
            text = call.arguments if isinstance(call.arguments, str) else msgspec.json.encode(call.arguments).decode()
            parts.append(ToolCall(CallId(call.id or f"call_{answers}_{number}"), call.name, text))
        stop = self.stop or ("tool_calls" if self.calls else "stop")
        return AssistantMessage(parts=tuple(parts), model=model, stop=stop, usage=self.usage)

    @property
    def label(self) -> str:
        """What it says, in a few words."""
        names = ", ".join(call.name for call in self.calls)
        words = " ".join(self.text.split())
        short = words if len(words) <= 48 else words[:47] + "…"
        if self.raw is not None:
            return f"raw {self.raw.status}"
        return " → ".join(part for part in (repr(short) if short else "", names) if part) or "nothing"


ScriptFunction = Callable[[ScriptRequest], "Turn | str | Awaitable[Turn | str | None] | None"]
"""Gives the turn for a request; a string is a turn that says it, None that no turn fits."""
Script = Sequence[Turn | str] | ScriptFunction
"""How one model behaves; a string is a turn that says it."""


def find_turn(turns: Sequence[Turn], request: ScriptRequest) -> int | None:
    """Returns the index of the turn that answers the request; None when none does."""
    sequence = 0
    for index, turn in enumerate(turns):
        if turn.when is not None and turn.when.fits(request):
            return index
    for index, turn in enumerate(turns):
        if turn.when is None:
            if sequence == request.answers:
                return index
            sequence += 1
    return None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _says(text: str | None, contains: str | None, matches: str | None) -> bool:
    if contains is None and matches is None:
        return True
    if text is None:
        return False
    return (contains is None or contains in text) and (matches is None or _compiled(matches).search(text) is not None)
