"""Tools, and the one gateway through which anything acts.

Purpose: `@tool` from signature and docstring, the built-in workspace tools, and `gateway.py`: admit, perform,
finish.
Knows: `sandbox`, `net`, `types`.
Must not know: runs, models, the log.
For programs: the names below, each loaded when it is first asked for.
Start reading at: `binding.py`, then `gateway.py`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` hands out, for type checkers and editors
    from holdfast.safety.secrets.environment import EnvironmentSecrets
    from holdfast.safety.secrets.files import FileSecrets
    from holdfast.safety.secrets.store import StoredSecrets
    from holdfast.tools.access.profiles import ApiKeyHeader, Basic, Bearer, OAuth2
    from holdfast.tools.authorising.explaining import explain
    from holdfast.tools.authorising.loading import load_policy
    from holdfast.tools.authorising.policy import Policy
    from holdfast.tools.builtin.knowing.engines import WebSearch
    from holdfast.tools.builtin.knowing.web_search import web_search_tool
    from holdfast.tools.elsewhere.attempting import Attempts
    from holdfast.tools.elsewhere.declaring import remote
    from holdfast.tools.elsewhere.manifests.loading import load_tools
    from holdfast.tools.hooks.guardrails import AllowedPaths, AuditTools, BlockedCommands
    from holdfast.tools.hooks.port import Calling, Finding, Note, Ruling, ToolHooks
    from holdfast.tools.hooks.programs import ProgramAfter, ProgramBefore
    from holdfast.tools.hooks.remembering import InjectMemory, InjectRule, SaveMemory, SaveRule
    from holdfast.tools.transports.callback import Callback
    from holdfast.tools.transports.cli import Cli
    from holdfast.tools.transports.commands.resources import Resources
    from holdfast.tools.transports.commands.running import Command, EnvFrom
    from holdfast.tools.transports.container import Container
    from holdfast.tools.transports.external import External
    from holdfast.tools.transports.grpc import Grpc
    from holdfast.tools.transports.http import Http
    from holdfast.tools.transports.wasm import Wasm
    from holdfast.types import Governance

__all__ = (
    "AllowedPaths",
    "ApiKeyHeader",
    "Attempts",
    "AuditTools",
    "Basic",
    "Bearer",
    "BlockedCommands",
    "Callback",
    "Calling",
    "Cli",
    "Command",
    "Container",
    "EnvFrom",
    "EnvironmentSecrets",
    "External",
    "FileSecrets",
    "Finding",
    "Governance",
    "Grpc",
    "Http",
    "InjectMemory",
    "InjectRule",
    "Note",
    "OAuth2",
    "Policy",
    "ProgramAfter",
    "ProgramBefore",
    "Resources",
    "Ruling",
    "SaveMemory",
    "SaveRule",
    "StoredSecrets",
    "ToolHooks",
    "Wasm",
    "WebSearch",
    "explain",
    "load_policy",
    "load_tools",
    "remote",
    "web_search_tool",
)

_HOME = {
    "AllowedPaths": "holdfast.tools.hooks.guardrails",
    "ApiKeyHeader": "holdfast.tools.access.profiles",
    "Attempts": "holdfast.tools.elsewhere.attempting",
    "AuditTools": "holdfast.tools.hooks.guardrails",
    "Basic": "holdfast.tools.access.profiles",
    "Bearer": "holdfast.tools.access.profiles",
    "BlockedCommands": "holdfast.tools.hooks.guardrails",
    "Callback": "holdfast.tools.transports.callback",
    "Calling": "holdfast.tools.hooks.port",
    "Cli": "holdfast.tools.transports.cli",
    "Command": "holdfast.tools.transports.commands.running",
    "Container": "holdfast.tools.transports.container",
    "EnvFrom": "holdfast.tools.transports.commands.running",
    "EnvironmentSecrets": "holdfast.safety.secrets.environment",
    "External": "holdfast.tools.transports.external",
    "FileSecrets": "holdfast.safety.secrets.files",
    "Finding": "holdfast.tools.hooks.port",
    "Governance": "holdfast.types",
    "Grpc": "holdfast.tools.transports.grpc",
    "Http": "holdfast.tools.transports.http",
    "InjectMemory": "holdfast.tools.hooks.remembering",
    "InjectRule": "holdfast.tools.hooks.remembering",
    "Note": "holdfast.tools.hooks.port",
    "OAuth2": "holdfast.tools.access.profiles",
    "Policy": "holdfast.tools.authorising.policy",
    "ProgramAfter": "holdfast.tools.hooks.programs",
    "ProgramBefore": "holdfast.tools.hooks.programs",
    "Resources": "holdfast.tools.transports.commands.resources",
    "Ruling": "holdfast.tools.hooks.port",
    "SaveMemory": "holdfast.tools.hooks.remembering",
    "SaveRule": "holdfast.tools.hooks.remembering",
    "StoredSecrets": "holdfast.safety.secrets.store",
    "ToolHooks": "holdfast.tools.hooks.port",
    "Wasm": "holdfast.tools.transports.wasm",
    "WebSearch": "holdfast.tools.builtin.knowing.engines",
    "explain": "holdfast.tools.authorising.explaining",
    "load_policy": "holdfast.tools.authorising.loading",
    "load_tools": "holdfast.tools.elsewhere.manifests.loading",
    "remote": "holdfast.tools.elsewhere.declaring",
    "web_search_tool": "holdfast.tools.builtin.knowing.web_search",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
