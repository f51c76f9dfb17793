"""From what a session's log says to the event protocol, in its order (source: AgentOps 2.2).

    agent_start -> for each step: step_start -> warnings, blocks of text, reasoning and arguments, calls, sources
    -> stream_finish -> all results of its calls -> step_finish -> ... -> agent_finish or agent_error -> session_idle

A translator is fed one run, from its beginning, and says the same of the same run whenever it is fed: a reader that
comes back is served by a new one that was fed what the reader has. What is streamed and what the log says afterwards
are told once: of a finished answer only that comes which was not streamed.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, final

import msgspec

from holdfast.engine.events import (
    BudgetExhausted,
    InputDropped,
    ModelFailed,
    ModelFinished,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.turns import ASKED, answered, not_approved
from holdfast.runtime.history.waiting import wait_id
from holdfast.server.doors.agentops import shapes as fep
from holdfast.server.doors.agentops.delegating import Delegations
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    Delta,
    Digest,
    Event,
    ProviderStep,
    Reset,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    Usage,
    Wait,
)

__all__ = ("Budget", "Translator", "shown_usage")

_FINISHES: dict[str, fep.FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "refusal": "content-filter",
}
_json = msgspec.json.Encoder()

Budget = Callable[[Usage], fep.ContextBudget]
"""Says what a request is made of, with what the last call really used."""


def shown_usage(usage: Usage) -> fep.UsageShown:
    """Returns tokens as the protocol counts them."""
    return fep.UsageShown(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cache_creation_tokens=usage.cache_write_tokens,
        cache_read_tokens=usage.cache_read_tokens,
    )


class _Step(msgspec.Struct):
    """One model call and its tools."""

    number: int
    blocks: int = 0
    """Blocks of it so far, for their ids."""
    open: str = ""
    """The kind of the block that is open: `text`, `reasoning`, or a call's `input`; empty for none."""
    id: str = ""
    """Of that block."""
    said: str = ""
    thought: str = ""
    inputs: dict[int, tuple[str, str, str]] = {}
    """Id, name and arguments of each call that was streamed."""
    usage: Usage = Usage()
    finish: fep.FinishReason = "unknown"
    calls: int = 0
    left: dict[str, str] = {}
    """Names of the calls that have no result yet, by their ids."""

    @property
    def streamed(self) -> bool:
        return bool(self.said or self.thought or self.inputs or self.open)


@final
class Translator:
    """Tells one run of one agent in the protocol's events."""

    def __init__(
        self, agent: str, session: str, *, prompt: str = "", internal: str = "", budget: Budget | None = None
    ) -> None:
        self._agent = agent
        self._session = session
        """The session's own name; in the events, sessions have the agent's."""
        self._prompt = prompt
        self._internal = internal
        """Who began it where nobody typed; empty where somebody did."""
        self._budget = budget
        self._out: list[fep.Fep] = []
        self._now = ""
        self._steps = 0
        self._step: _Step | None = None
        self._model = ""
        self._said_why = ""
        """What the last model call failed with."""
        self._names: dict[str, ToolCall] = {}
        """The model's calls, by id."""
        self._delegations = Delegations(agent)
        self._waits: dict[str, tuple[str, Wait]] = {}
        """What calls of this turn wait for, by its token."""
        self._early: dict[str, WaitResolved] = {}
        self.files: Mapping[Digest, bytes] = {}
        """What is at hand of files that calls made."""
        self.over = False
        """Whether the last event was told."""

    @property
    def step(self) -> int:
        """The number of the step that is under way, or comes next."""
        return self._steps

    def feed(self, items: Sequence[Event | Delta], now: datetime) -> list[fep.Fep]:
        """Returns what these come to; deltas are as old as `now`."""
        self._out = []
        for item in items:
            if isinstance(item, Event):
                self._now = _time(datetime.fromtimestamp(item.at / 1e6, UTC))
                self._event(item)
            else:
                self._now = _time(now)
                self._delta(item)
        return self._out

    def end(self, error: str, now: datetime, *, retryable: bool = True) -> list[fep.Fep]:
        """Returns the last events of a stream that cannot be told to its end."""
        self._out, self._now = [], _time(now)
        if not self.over:
            self._fail(error, retryable=retryable)
        return self._out

    # ---- what streams -------------------------------------------------------------------------------------

    def _delta(self, item: Delta) -> None:
        match item:
            case TextDelta():
                step = self._in_block("text")
                step.said += item.text
                self._tell(fep.TextDelta, id=step.id, delta=item.text)
            case ThinkingDelta():
                step = self._in_block("reasoning")
                step.thought += item.text
                self._tell(fep.ReasoningDelta, id=step.id, delta=item.text)
            case CallDelta():
                self._input(item.index, item.id, item.name, item.arguments)
            case Reset():
                if self._step is not None and not self._step.calls and self._step.streamed:
                    self._again(item.reason)
            case _:
                pass  # a reader that lagged is given a reset, too

    def _begun(self) -> _Step:
        """Returns the step that is under way; begins one where none is."""
        if self._step is None:
            self._step = _Step(self._steps)
            self._tell(fep.StepStart, step_number=self._steps, session_id=self._agent)
        return self._step

    def _in_block(self, kind: str) -> _Step:
        step = self._begun()
        if step.open != kind:
            self._close(step)
            step.open, step.id = kind, f"{step.number}-{step.blocks}"
            step.blocks += 1
            self._tell(fep.TextStart if kind == "text" else fep.ReasoningStart, id=step.id)
        return step

    def _input(self, index: int, id: str, name: str, arguments: str) -> None:
        step = self._begun()
        known = step.inputs.get(index)
        if known is None:
            self._close(step)
            known = step.inputs[index] = (id or f"call-{step.number}-{index}", name, "")
            step.open, step.id = "input", known[0]
            self._tell(fep.ToolInputStart, id=known[0], tool_name=name)
        step.inputs[index] = (known[0], known[1], known[2] + arguments)
        if arguments:
            self._tell(fep.ToolInputDelta, id=known[0], delta=arguments)

    def _close(self, step: _Step) -> None:
        if not step.open:
            return
        ends: dict[str, type[fep.Fep]] = {"text": fep.TextEnd, "reasoning": fep.ReasoningEnd, "input": fep.ToolInputEnd}
        self._tell(ends[step.open], id=step.id)
        step.open = ""

    def _again(self, reason: str) -> None:
        """Takes back what was streamed of a step."""
        step = self._begun()
        self._close(step)
        self._tell(fep.TextReset, session_id=self._agent, step_number=step.number, reason=reason)
        step.said = step.thought = ""
        step.inputs = {}

    # ---- what the log says --------------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        match event.data:
            case RunStarted() as data:
                self._start(data.setup.origin.get("traceparent", ""))
            case ModelFinished() as data:
                self._answered(data)
            case ModelFailed() as data:
                self._failed(data)
            case ToolWaiting() as data:
                self._waiting(data)
            case WaitResolved() as data:
                self._resolved(data)
            case ToolFinished() as data:
                self._result(data)
            case BudgetExhausted() as data:
                self._said_why = f"the limit of {data.limit} is used up"
            case InputDropped() as data:
                self._fail(data.reason or "the prompt was dropped", retryable=False)
            case RunFinished() as data:
                self._finish(data)
            case _:
                pass

    def _start(self, trace: str) -> None:
        budget = None if self._budget is None else self._budget(Usage())
        parts = trace.split("-")
        trace_id = parts[1] if len(parts) == 4 else ""
        common: dict[str, Any] = {"session_id": self._agent, "trace_id": trace_id, "context_budget": budget}
        if self._internal:
            self._tell(fep.AgentStart, internal=True, source=self._internal, **common)
        else:
            self._tell(fep.AgentStart, prompt=self._prompt, **common)

    def _answered(self, data: ModelFinished) -> None:
        message, step = data.message, self._begun()
        self._model = message.model
        thought = "".join([part.text for part in message.parts if isinstance(part, Thinking)])
        if not message.text.startswith(step.said) or (thought and not thought.startswith(step.thought)):
            self._again("the answer is another one than what was streamed")
        self._rest(message, step, thought)
        self._close(step)
        for call in message.calls:
            self._names[call.id] = call
            self._tell(
                fep.ToolCall, id=call.id, tool_name=call.name, input=call.arguments or "{}", provider_executed=False
            )
        for number, part in enumerate(each for each in message.parts if isinstance(each, ProviderStep)):
            id = f"provider-{step.number}-{number}"
            self._tell(fep.ToolCall, id=id, tool_name=part.name, input=part.data or "{}", provider_executed=True)
        self._sources(message, step)
        step.usage, step.finish = message.usage, _FINISHES.get(message.stop, "other")
        step.calls, step.left = len(message.calls), {call.id: call.name for call in message.calls}
        self._tell(fep.StreamFinish, usage=shown_usage(message.usage), finish_reason=step.finish)
        self._end_step()

    def _rest(self, message: AssistantMessage, step: _Step, thought: str) -> None:
        """Tells what of an answer was not streamed."""
        if (rest := thought[len(step.thought) :]) and not step.said:
            self._delta(ThinkingDelta(rest))
        if rest := message.text[len(step.said) :]:
            self._delta(TextDelta(rest))
        for index, call in enumerate(message.calls):
            _, _, told = step.inputs.get(index, ("", "", ""))
            if not told or not call.arguments.startswith(told):
                told = ""
            self._input(index, call.id, call.name, call.arguments[len(told) :])

    def _sources(self, message: AssistantMessage, step: _Step) -> None:
        told: set[str] = set()
        for part in message.parts:
            for each in part.citations if isinstance(part, Text) else ():
                if each.source not in told:
                    told.add(each.source)
                    kind = "url" if each.source.startswith(("http://", "https://")) else "document"
                    id = f"source-{step.number}-{len(told)}"
                    self._tell(fep.Source, id=id, source_type=kind, url=each.source, title=each.title)

    def _failed(self, data: ModelFailed) -> None:
        self._said_why = data.message or data.code
        step = self._begun()
        if data.mode == "reset" and step.streamed:
            self._again(data.code)
        if data.next or data.again:
            asked = f"; asking {data.next}" if data.next and data.next != data.model else "; asking again"
            self._tell(fep.Warnings, warnings=(f"{data.model or 'the model'}: {self._said_why}{asked}",))

    def _waiting(self, data: ToolWaiting) -> None:
        wait, call = data.wait, self._names.get(data.call_id)
        id = wait_id(self._session, wait.token)
        self._waits[wait.token] = (data.call_id, wait)
        if wait.kind == "approval":
            name = wait.subject or ("" if call is None else call.name)
            given = wait.arguments or ("{}" if call is None else call.arguments)
            said = f"Tool {name!r} wants to execute"
            self._tell(
                fep.PermissionAsked, id=id, session_id=self._agent, tool_name=name, input=given, description=said
            )
        elif wait.kind == "question":
            self._tell(fep.QuestionAsked, id=id, session_id=self._agent, questions=_questions(data))
        elif wait.kind == "child":
            for each in (wait, *[other for other in data.beside if other.kind == "child"]):
                self._delegations.began(each, self._now)
        if self._step is not None:
            self._settle(data.call_id)
        if (early := self._early.pop(wait.token, None)) is not None and wait.kind not in ASKED:
            self._resolved(early)

    def _resolved(self, data: WaitResolved) -> None:
        """Tells of the end of a wait, and of the result where the call comes to it so (see `engine/turns.py`)."""
        if (found := self._waits.pop(data.token, None)) is None:
            self._early[data.token] = data  # it came before the word that it is waited for
            return
        call_id, wait = found
        id = wait_id(self._session, data.token)
        if self._delegations.knows(data.token):
            self._out += self._delegations.announce(self._now)
            self._out += self._delegations.ended(data, self._now)
        if wait.kind == "approval":
            if data.content is not None:
                response = data.content.partition(":")[0]
                self._tell(fep.PermissionReplied, id=id, session_id=self._agent, response=response)
            said = "deny" if data.is_error else data.content
            if said not in ("once", "always"):
                self._came_to(call_id, not_approved(said))
        elif not wait.below:
            if wait.kind == "question" and (answers := _answers(data.content)) is not None:
                self._tell(fep.QuestionReplied, id=id, session_id=self._agent, answers=answers)
            self._came_to(call_id, answered(data))

    def _result(self, data: ToolFinished) -> None:
        if data.nested is None:
            self._came_to(data.call_id, data.result)

    def _came_to(self, call_id: str, result: ToolResult) -> None:
        call, step = self._names.get(call_id), self._step
        if call is None or (step is not None and call_id not in step.left):
            return
        self._out += self._delegations.announce(self._now)
        made = result.attachments[0] if result.attachments else None
        data = None if made is None else self.files.get(made.digest)
        self._tell(
            fep.ToolResult,
            id=call_id,
            tool_name=call.name,
            output=result.content,
            is_error=result.error is not None,
            metadata=_json.encode(result.metadata).decode() if result.metadata else None,
            media_type=None if made is None else made.media_type,
            data=None if data is None else b64encode(data).decode(),
        )
        if step is not None:
            step.left.pop(call_id, None)
            self._end_step()

    def _settle(self, call: str) -> None:
        """Tells of other agents once every call of the turn has ended or waits."""
        step = self._step
        assert step is not None
        self._delegations.waits.add(call)
        if set(step.left) <= self._delegations.waits:
            self._out += self._delegations.announce(self._now)

    def _end_step(self) -> None:
        step = self._step
        if step is None or step.left:
            return
        budget = None if self._budget is None else self._budget(step.usage)
        self._tell(
            fep.StepFinish,
            step_number=step.number,
            session_id=self._agent,
            usage=shown_usage(step.usage),
            finish_reason=step.finish,
            tool_call_count=step.calls,
            context_budget=budget,
        )
        self._steps, self._step = self._steps + 1, None
        self._delegations.waits.clear()

    def _finish(self, data: RunFinished) -> None:
        if data.status != "completed":
            why = data.reason or self._said_why or data.status
            if data.status == "failed" and self._said_why and self._said_why not in why:
                why = f"{why}: {self._said_why}"
            self._fail(why, retryable=data.status == "failed")
            return
        usage = shown_usage(data.usage)
        self._tell(fep.AgentFinish, session_id=self._agent, total_usage=usage, step_count=data.steps, model=self._model)
        self._idle()

    def _fail(self, why: str, *, retryable: bool) -> None:
        if self._step is not None:
            self._close(self._step)
        self._tell(fep.AgentError, session_id=self._agent, error=why, retryable=retryable)
        self._idle()

    def _idle(self) -> None:
        self._tell(fep.SessionIdle, session_id=self._agent)
        self.over = True

    def _tell(self, kind: type[fep.Fep], **fields: Any) -> None:
        self._out.append(kind(timestamp=self._now, **fields))


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _questions(data: ToolWaiting) -> tuple[fep.QuestionShown, ...]:
    wait = data.wait
    if not wait.questions:
        return (fep.QuestionShown(header="", question=wait.prompt),)
    return tuple(
        fep.QuestionShown(
            header=each.header,
            question=each.question,
            options=tuple(fep.OptionShown(option.label, option.description) for option in each.options),
            multiple=each.multiple,
        )
        for each in wait.questions
    )


def _answers(content: str | None) -> tuple[tuple[str, ...], ...] | None:
    """Returns the answers to questions; None where it is none."""
    try:
        return None if content is None else msgspec.json.decode(content, type=tuple[tuple[str, ...], ...])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
