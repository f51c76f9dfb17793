"""What an agent has promised about how it works: which tools it uses, what its answer holds, what comes of repeats.

Who keeps it to that is the engine (`engine/execution/`); here it is only said.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from holdfast.errors import UsageError
from holdfast.types.permissions import texts

__all__ = ("Execution", "OnViolation", "Repeats")

OnViolation = Literal["observe", "fail"]
"""What a broken contract comes to: a line in the log and nothing else, or the end of the run as `failed`."""
Repeats = Literal["run", "answer", "deny"]
"""What comes of a call that was made before with the same arguments: it is made, answered from memory, or refused."""


class Execution(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How an agent has to work; what is left out binds it to nothing.

    With a `sequence` or `markers` it is a contract. Four things break it: a call of a tool that is not in the sequence,
    a tool of the sequence that was not used with success, a marker that the answer does not hold, and a call again
    where `repeats` is `deny`. Each is an event, `contract.violated`; under `fail` it also ends the run as `failed` with
    the reason `agent_contract_violation`, and trying the same again would not help. Under `fail` an answer that lacks
    something is no end yet: the model is told what, which costs a turn, and goes on as long as less is lacking each
    time. A run that its limit of steps ends without having used all tools has broken the contract, too; a marker that
    its last words lack is then only noted. Only what the model itself calls counts, and not what a call calls, as
    scripts do.

    Under `observe` the contract changes nothing but the log: the model is told nothing, no turn is added, and the run
    ends as it would without. `repeats` and `stop_on_first_tool` are no part of that, and do what they say.

    Raises:
        UsageError: a value is none that there is, or would have no effect.
    """

    sequence: tuple[str, ...] = ()
    """Tools that have to be used, each at least once, in any order; and the only ones that may be. Empty for any."""
    markers: tuple[str, ...] = ()
    """Texts that the answer has to hold, as they are written here."""
    on_violation: OnViolation = "fail"
    repeats: Repeats = "run"
    """What comes of a call that went well in this run and is made again. The same is: the same tool, and arguments that
    are the same JSON as the tool reads it, whatever their order and spaces. Other arguments always run.

    `answer` gives the earlier result again, as long as nothing may have changed it: since that call began, no other
    call was made that may change anything, nobody said anything, no pause was over, and no process goes on in the
    background. So a file is read again after it was edited. Otherwise it runs. `deny` refuses the call, whatever has
    changed since. A call that failed may always be made again.

    Repeats count for the limits like other calls: `identical_repeats` ends a run that goes round, answered or not."""
    stop_on_first_tool: bool = False
    """Whether the run is over with the first call that goes well: what it came to is the run's output. The calls of an
    answer are then made one after another, in its order."""
    besides: tuple[str, ...] = ()
    """Tools that may be called without being part of this: they break no contract and are not the first tool. The tools
    that take typed answers and that find others are always such ones."""

    def __post_init__(self) -> None:
        for name in ("sequence", "markers", "besides"):
            given = texts(name, getattr(self, name))
            msgspec.structs.force_setattr(self, name, tuple(sorted(set(given))))  # they are sets
        for name, kind in (("on_violation", OnViolation), ("repeats", Repeats)):
            if getattr(self, name) not in (words := get_args(kind)):
                raise UsageError(f"{name} is {getattr(self, name)!r}: write {', '.join(map(repr, words))}")
        self._check()

    def _check(self) -> None:
        if self.on_violation == "observe" and not self.contract:
            raise UsageError("on_violation is of a contract: say its sequence or markers, or leave it out")
        if self.stop_on_first_tool and len(self.sequence) > 1:
            raise UsageError(
                "stop_on_first_tool ends with one tool, and the sequence wants more: leave one of them out"
            )
        if both := [each for each in self.sequence if each in self.besides]:
            raise UsageError(f"{both[0]!r} is part of the sequence, so it is not besides it: leave it out of one")

    @property
    def contract(self) -> bool:
        """Whether there is anything to break."""
        return bool(self.sequence or self.markers)
