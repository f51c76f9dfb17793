"""Why a call would run, be asked about or be denied, asked before anybody makes it.

Not here: how it is drawn (`cli/`); hooks, which may run programs, and are asked only in a run.
"""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.errors import UnknownTool
from holdfast.errors.hinting import hint
from holdfast.tools.authorising.deciding import judge_call, table_of
from holdfast.tools.authorising.decision import Decision, Looked, Verdict
from holdfast.tools.authorising.policy import Policies
from holdfast.tools.permitting import Rules, judge
from holdfast.types import AgentSpec, Effect

__all__ = ("Explanation", "explain")

_MODE = 9
_NOBODY = 10
_FREE = Rules()
_SAID: Final[dict[Verdict, str]] = {
    "allow": "is allowed",
    "deny": "is denied",
    "approval_required": "needs a person's word",
}
_TO: Final[dict[Verdict, str]] = {
    "allow": "to forbid it",
    "deny": "to have it allowed",
    "approval_required": "to change that",
}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a call, and why."""

    agent: str
    tool: str
    verdict: Verdict
    rule: str
    """The rule that decided, in words."""
    advice: str
    """What to change to get another verdict."""
    trail: tuple[Looked, ...]
    """All that was looked at, in that order."""
    decided: int
    """Which of these decided, from 0."""
    unasked: int = 0
    """Scopes that may yet deny the call: there were no arguments to hold against them."""

    def lines(self) -> tuple[str, ...]:
        """Returns the whole of it for the eye: the verdict, why, what to do about it, and what was looked at, where the
        line that decided begins with an arrow.
        """
        said = _SAID[self.verdict]
        if self.unasked:
            said += f", if its arguments are within {self.unasked} {'scope' if self.unasked == 1 else 'scopes'}"
        head = [f"{self.tool!r}, called by {self.agent!r}, {said}", f"because: {self.rule}"]
        if self.advice:
            head.append(f"{_TO[self.verdict]}: {self.advice}")
        rows = [
            f"{'->' if number == self.decided else '  '} {_step(each)} {each.at}: {each.found}"
            for number, each in enumerate(self.trail)
        ]
        return (*head, "looked at, in this order:", *rows)


def explain(
    policies: Policies,
    agent: AgentSpec,
    tool: str,
    arguments: object = None,
    *,
    rules: Rules = _FREE,
    effect: Effect | None = None,
    tenant: str = "local",
    root: str = "",
) -> Explanation:
    """Returns what would become of a call of a tool that the agent's spec names.

    `arguments` are JSON, or what that says; without any, scopes are named and not asked. `rules` are what the run's
    user decided; `effect` is what the call changes, where that depends on its arguments. `root` is the folder of the
    workspace.

    Raises:
        UnknownTool: the agent has no such tool.
    """
    spec = next((each for each in agent.tools if each.name == tool), None)
    if spec is None:
        names = [each.name for each in agent.tools]
        raise UnknownTool(f"{agent.name!r} has no tool {tool!r}; {hint(tool, names) if names else 'give it one'}")
    table = table_of(policies, agent, agent.tools, tenant)
    if not table:
        decision = _ungoverned(tool)
    else:
        decision = table[tool] if arguments is None else judge_call(table, tool, arguments, root)
    effect = spec.effect if effect is None else effect
    if (known_better := rules.effects.get(tool)) is not None:
        effect = Effect(effect.workspace, known_better)
    return _by_mode(agent.name, decision, rules, effect, unasked=len(decision.scopes) if arguments is None else 0)


def _ungoverned(tool: str) -> Decision:
    rule = "no policy, no roles, and every agent may call it"
    return Decision(
        verdict="allow",
        step=4,
        rule=rule,
        advice="write a policy, or pick a stricter mode",
        tool=tool,
        trail=(Looked(4, "whether anything is said", rule),),
    )


def _by_mode(agent: str, decision: Decision, rules: Rules, effect: Effect, *, unasked: int) -> Explanation:
    trail, decided = list(decision.trail), len(decision.trail) - 1
    verdict, rule, advice = decision.verdict, decision.rule, decision.advice
    judged = judge(rules.mode, effect)
    if unasked:
        trail.append(Looked(8, "scopes of arguments", f"{unasked} not looked at, as no arguments were given"))
    words = {"allow": "lets it run", "ask": "has a person asked", "deny": "denies it"}
    said = f"the mode {rules.mode!r} {words[judged]}: the call changes {_changed(effect)}"
    if verdict != "deny":
        trail.append(Looked(_MODE, "mode", said))
        if judged == "deny" or (judged == "ask" and verdict == "allow"):
            verdict, rule, decided = "deny" if judged == "deny" else "approval_required", said, len(trail) - 1
            advice = "pick a freer mode" if judged == "deny" else "pick a freer mode, or say yes when it is asked"
    if verdict == "approval_required" and rules.unattended:
        rule = f"a person would have to be asked, and nobody can be: {rule}"
        trail.append(Looked(_NOBODY, "a person", "nobody can be asked"))
        verdict, decided, advice = "deny", len(trail) - 1, f"attend the run, or {advice}"
    return Explanation(
        agent=agent,
        tool=decision.tool,
        verdict=verdict,
        rule=rule,
        advice=advice,
        trail=tuple(trail),
        decided=decided,
        unasked=0 if verdict == "deny" else unasked,
    )


def _changed(effect: Effect) -> str:
    files = "files of the workspace" if effect.workspace else ""
    outside = "" if effect.outside == "none" else f"things outside ({effect.outside})"
    sends = "nothing, and sends something out" if effect.sends else "nothing"
    return " and ".join(each for each in (files, outside) if each) or sends


def _step(looked: Looked) -> str:
    if 1 <= looked.step <= 7:
        return f"step {looked.step}"
    return "before" if looked.step == 0 else "after "
