"""The tool that runs Python: computing with a language, not with a machine.

The code reaches no file of the workspace, no network and no other program, and nothing of it is left for the next call.
So a call changes nothing and may be repeated. Where nothing here keeps it in, it is refused: whoever wants Python with
the workspace, or without isolation, gives the agent `bash`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.snippets.port import Interpreter
from holdfast.tools.binding import ToolContext, ToolFailure
from holdfast.tools.builtin.running.interpreting import Came, in_sandbox, in_wasm
from holdfast.tools.contract.taxonomy import fault_of
from holdfast.tools.declaring import FunctionTool, tool
from holdfast.types import Governance, ToolResult

__all__ = ("python", "python_tool")

_LONGEST: Final = 100_000
"""Bytes of code: what is passed to a program as one argument has less than 128 KiB."""


def python_tool(interpreter: Interpreter | None = None) -> FunctionTool[..., Any]:
    """Returns the tool with an interpreter of the program's own; without one, with that of the process."""

    @tool(
        effect="none",
        name="python",
        tier="inside",
        reference="builtin:python",
        governance=Governance(risk="medium", operations=("read",)),
    )
    async def python(
        code: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST)],
        context: ToolContext,
        timeout: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10,  # noqa: ASYNC109 - the model sets it
    ) -> ToolResult:
        """Run Python code to compute something: with the standard library, but without files, network or other
        programs, in an interpreter of its own that forgets everything afterwards. Returns what it printed, and the
        value of its last line if that is an expression.

        Args:
            code: The program.
            context: Where the call runs.
            timeout: Seconds it may take; at most 60.
        """
        metadata: dict[str, Any] = {"ui": "terminal", "command": "python"}
        if not code.strip() or "\0" in code or len(code.encode("utf-8", "replace")) > _LONGEST:
            text = f"There is nothing to run: give a program of at most {_LONGEST:,} bytes, without NUL."
            raise ToolFailure(text, code="invalid_input", metadata=metadata)
        code = code.encode("utf-8", "backslashreplace").decode()  # half a character is no text
        try:
            came = await _run(interpreter, context, code, timeout)
        except IsolationMissing as error:
            text = f"Not run: nothing here keeps Python in ({error}). `pip install 'holdfast[wasm]'`, or use a sandbox."
            return ToolResult(text, fault_of("isolation_unavailable"), metadata)
        except SandboxError as error:
            raise ToolFailure(f"Not run: {error}.", metadata=metadata) from error
        return _result(came, metadata)

    return python


async def _run(interpreter: Interpreter | None, context: ToolContext, code: str, seconds: float) -> Came:
    from holdfast.sandbox.snippets.shared import shared_interpreter  # noqa: PLC0415 - the first program loads it

    try:
        return await in_wasm(interpreter or shared_interpreter("python"), code, seconds)
    except IsolationMissing as missing:
        try:
            return await in_sandbox(context, code, seconds)
        except IsolationMissing as none:
            raise IsolationMissing(f"{missing}; {none}") from none


def _result(came: Came, metadata: dict[str, Any]) -> ToolResult:
    metadata |= {"engine": came.engine, "duration": round(came.seconds * 1000)}
    said = came.said
    if came.ended == "ok":
        text = _below(came.printed, f"=> {said.value}" if said.value else "")
        return ToolResult(text or "[nothing was printed, and the last line has no value]", metadata=metadata)
    if came.ended == "error":
        raise ToolFailure(_below(came.printed, (said.error or came.why).rstrip("\n")), metadata=metadata)
    note = f"[stopped at the limit of {came.ended}: {came.why}]"
    code = "timeout" if came.ended == "wall" else "quota"
    raise ToolFailure(_below(came.printed, note), code=code, metadata=metadata | {"breach": came.ended})


def _below(text: str, note: str) -> str:
    if not note:
        return text
    return f"{text}\n{note}" if text and not text.endswith("\n") else text + note


python = python_tool()
