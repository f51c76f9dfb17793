"""From the file and the environment to an agent, and to the runtime that it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.models.access.access import Access
from holdfast.models.routing.chain import Failover
from holdfast.runtime.agent import Agent
from holdfast.runtime.bound import BoundAgent
from holdfast.runtime.delivering.hooks import Hooks
from holdfast.server.doors.agentops.configuring import fields
from holdfast.server.doors.agentops.configuring.fields import Config, Memory, Resource
from holdfast.server.doors.agentops.configuring.providers import PARALLEL, Providers
from holdfast.server.doors.agentops.configuring.reading import read_config
from holdfast.server.doors.agentops.extracting import extractor, titler
from holdfast.server.doors.agentops.outcomes.finishing import run_finish
from holdfast.tools.authorising.policy import OperationRule, Policy, ToolPermission
from holdfast.tools.binding import Tool
from holdfast.tools.builtin.table import BUILTIN
from holdfast.tools.hooks.guardrails import AllowedPaths, AuditTools, BlockedCommands
from holdfast.tools.hooks.port import After, Before, ToolHooks
from holdfast.tools.hooks.remembering import SaveMemory, SaveRule
from holdfast.types import Limits, TenantId

__all__ = ("Configured", "configured")

_CONTEXT = 1024 * 1024
"""Bytes of a file whose words the agent knows."""
_FRACTION = 0.75


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """An agent, and what the runtime is opened with that it runs in."""

    name: str
    namespace: str
    agent: BoundAgent
    titles: BoundAgent | None
    extracts: BoundAgent
    access: Access
    policies: tuple[Policy, ...]
    hooks: Hooks | None
    failover: Failover | None
    environment: Mapping[str, str]
    """What is to be set in the process's environment before a model is asked."""
    fraction: float
    workspace: str
    warnings: tuple[str, ...]

    def opening(self) -> dict[str, Any]:
        """Returns what a runtime is opened with."""
        return {"access": self.access, "hooks": self.hooks, "failover": self.failover}


def configured(path: Path, environment: Mapping[str, str], *, daemon: bool) -> Configured:
    """Returns what the file comes to.

    Raises:
        UsageError: it cannot be read, or a field asks for what is not there; the message names the field.
    """
    config, warnings = read_config(path)
    _refuse(config)
    providers = Providers(config, environment)
    models = [providers.model(config.primary_model, "primaryModel")]
    for at, each in enumerate(config.fallback_models):
        models.append(providers.model(each, f"fallbackModels[{at}]"))
    for block in providers.idle_defaults():
        warnings.append(f"{path}: callDefaults.{block} has no effect: no provider is of that type")
    name = environment.get("AGENT_NAME", "") or "default"
    title = providers.model(config.title_model, "titleModel") if config.title_model else ""
    if title and not daemon:
        warnings.append(f"{path}: titleModel has no effect in a task, which has no sessions")
    if _window(config) is not None:
        warnings.append(f"{path}: memory.windowSize is of the older form: requests carry the newest messages alone")
    retries = config.max_retries
    return Configured(
        name=_named(name),
        namespace=environment.get("AGENT_NAMESPACE", "") or "default",
        agent=_agent(config, providers, models, path, name, daemon=daemon),
        titles=titler(title) if title and daemon else None,
        extracts=extractor(models[0]),
        access=providers.access,
        policies=_policies(config),
        hooks=_hooks(config),
        failover=None if retries is None else Failover(tries=retries + 1),
        environment=providers.environment,
        fraction=config.budget_fraction or _FRACTION,
        workspace=environment.get("WORKSPACE", ""),
        warnings=tuple(warnings),
    )


def _agent(
    config: Config, providers: Providers, models: list[str], path: Path, name: str, *, daemon: bool
) -> BoundAgent:
    limits: dict[str, Any] = {}
    if config.max_steps is not None:
        limits["steps"] = config.max_steps
    if config.max_tokens_budget is not None:
        limits["tokens"] = config.max_tokens_budget
    if config.max_retries is not None:
        limits["model_retries"] = config.max_retries
    if config.parallel_tool_execution is False:
        limits["calls_at_once"] = 1
    return Agent(
        ",".join(models),
        name=name,
        instructions=_instructions(config, path),
        tools=_tools(config, daemon=daemon),
        limits=Limits(**limits),
        temperature=config.temperature,
        max_output_tokens=config.max_output_tokens,
        messages_shown=_window(config),
        options=providers.options(models),
    )


def _window(config: Config) -> int | None:
    return None if config.memory is None else config.memory.window_size


def _named(name: str) -> str:
    try:
        from holdfast.types import stream_id  # noqa: PLC0415 - its check of names

        stream_id(TenantId("local"), name)
    except UsageError:
        raise UsageError(f"AGENT_NAME is {name[:100]!r}: use letters, digits, dots and dashes") from None
    if len(name) > 100:
        raise UsageError("AGENT_NAME has more than 100 characters: the names of its conversations would be too long")
    return name


def _instructions(config: Config, path: Path) -> str:
    """Returns the system message, the same in every request: protocol, prompt, resources, files."""
    parts = [config.platform_protocol or "", config.system_prompt or ""]
    if config.resources:
        parts.append("\n".join(("What you work on:", *map(_resource, config.resources))))
    for at, each in enumerate(config.context_files):
        parts.append(f"From {each.path}:\n\n{_words(path.parent / each.path, f'contextFiles[{at}].path')}")
    return "\n\n".join(each.strip() for each in parts if each.strip())


def _resource(resource: Resource) -> str:
    places = [getattr(resource, name) for name in fields.Resource.__struct_fields__ if name not in _PLAIN]
    facts = ", ".join(
        f"{name} {value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for place in places
        if place
        for name, value in place.items()
        if name != "headers" and value
    )
    about = f": {resource.description}" if resource.description else ""
    return f"- {resource.display_name or resource.name} ({resource.kind}{f'; {facts}' if facts else ''}){about}"


_PLAIN = ("name", "kind", "display_name", "description", "read_only", "auto_context")


def _words(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_CONTEXT + 1)
    except OSError as error:
        raise UsageError(f"{where}: {str(path)!r} cannot be read: {error.strerror}") from error
    if len(data) > _CONTEXT:
        raise UsageError(f"{where}: {str(path)!r} has more than {_CONTEXT:,} bytes: give the agent less to know")
    return data.decode("utf-8", "replace")


def _tools(config: Config, *, daemon: bool) -> list[Tool]:
    names = list(dict.fromkeys(config.builtin_tools))
    if config.enable_question_tool and daemon and "question" not in names:
        names.append("question")
    there: dict[str, Tool | None] = {**dict.fromkeys(BUILTIN), "run_finish": run_finish}
    for at, name in enumerate(names):
        if name not in there:
            raise UsageError(f"builtinTools[{at}]: there is no tool {name!r}: {hint(name, there)}")
    tools = [there[name] or BUILTIN[name] for name in names]
    most = config.max_tool_result_chars
    if most is None:
        return tools
    return [msgspec.structs.replace(each, spec=msgspec.structs.replace(each.spec, max_output=most)) for each in tools]


def _policies(config: Config) -> tuple[Policy, ...]:
    have = {*config.builtin_tools, *(("question",) if config.enable_question_tool else ())}
    for at, name in enumerate(config.permission_tools):
        if name not in have:
            raise UsageError(f"permissionTools[{at}]: the agent has no tool {name!r}: {hint(name, have)}")
    if not config.permission_tools:
        return ()
    asks = (OperationRule(operation="*", verdict="approval_required"),)
    return (Policy(permissions=tuple(ToolPermission(tool=each, operations=asks) for each in config.permission_tools)),)


def _hooks(config: Config) -> Hooks | None:
    given = config.tool_hooks
    if given is None:
        return None
    before: list[Before] = []
    after: list[After] = []
    if given.blocked_commands:
        before.append(BlockedCommands(*given.blocked_commands))
    if given.allowed_paths:
        before.append(AllowedPaths(*given.allowed_paths))
    if given.audit_tools:
        after.append(AuditTools(*given.audit_tools))
    if given.memory_save_rules:
        rules = [
            SaveRule(
                tool=each.tool,
                match_output=each.match_output,
                match_arguments=dict(each.match_args),
                kind=each.type,
                scope=each.scope,
            )
            for each in given.memory_save_rules
        ]
        after.append(SaveMemory(*rules))
    return Hooks(tools=ToolHooks(before=before, after=after)) if before or after else None


def _refuse(config: Config) -> None:
    """Raises where something is asked for that is not there."""
    hooks = config.tool_hooks
    defaults = config.call_defaults
    asked = {
        "runtime": (
            config.runtime not in ("fantasy", "holdfast"),
            f"{config.runtime!r} is another program's: write 'fantasy', or leave it out",
        ),
        "tools": (bool(config.tools), "packages of tools are not started here yet: declare tools of your own instead"),
        "mcpServers": (bool(config.mcp_servers), "MCP servers are not reached from here yet: leave them out"),
        "memory": (
            config.memory is not None and config.memory != Memory(window_size=_window(config)),
            "there is no memory over conversations yet: leave it out; the conversation itself is kept without it",
        ),
        "delegation.team": (
            bool(config.delegation and config.delegation.team),
            "other agents are not reached from a daemon or a task yet: leave it out",
        ),
        "toolHooks.contextInjectTools": (
            bool(hooks and hooks.context_inject_tools),
            "nothing can be brought as long as there is no memory: leave it out",
        ),
        "callDefaults.anthropic.disableParallelToolUse": (
            bool(defaults and defaults.anthropic and defaults.anthropic.disable_parallel_tool_use),
            PARALLEL,
        ),
    }
    for field, (wanted, why) in asked.items():
        if wanted:
            raise UsageError(f"{field}: {why}")
    for at, each in enumerate(config.resources):
        for name, wanted in (("readOnly", each.read_only), ("autoContext", each.auto_context)):
            if wanted:
                raise UsageError(
                    f"resources[{at}].{name}: the agent is told of a resource, and nothing more is done for it: give "
                    "it tools and credentials that can do no more than they should, and leave this out"
                )
