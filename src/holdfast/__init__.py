"""Holdfast: a durable agent runtime.

One log, one loop, one gateway for effects and one for models, hard limits, and a session that can be killed at any
instant and goes on.

Importing this package loads no I/O library: each name is fetched when it is first used.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError
    from holdfast.models.access.access import Access
    from holdfast.models.access.servers import CustomServer
    from holdfast.models.routing.chain import Failover
    from holdfast.models.routing.tiers import Tiers
    from holdfast.runtime.agent import Agent
    from holdfast.runtime.delivering.hooks import Hooks
    from holdfast.runtime.delivering.port import Delivery
    from holdfast.runtime.delivering.targets.function import FunctionTarget
    from holdfast.runtime.delivering.targets.webhook import WebhookTarget
    from holdfast.runtime.guarding.critic import Critic, Extend, Kill, Nudge, Raise, Stalled
    from holdfast.runtime.pipelines import Phase, Pipeline
    from holdfast.runtime.run import ModelUse, Run, RunResult
    from holdfast.runtime.runtime import Runtime
    from holdfast.tools.binding import Tool, ToolContext, ToolFailure
    from holdfast.tools.declaring import tool
    from holdfast.types import (
        Control,
        Document,
        Effect,
        Event,
        Execution,
        Image,
        Limits,
        Price,
        ProviderTool,
        ToolResult,
        Usage,
        Wait,
    )

__version__ = "0.1.0"

__all__ = (
    "Access",
    "Agent",
    "Control",
    "Critic",
    "CustomServer",
    "Delivery",
    "Document",
    "Effect",
    "Event",
    "Execution",
    "Extend",
    "Failover",
    "FunctionTarget",
    "HoldfastError",
    "Hooks",
    "Image",
    "Kill",
    "Limits",
    "ModelUse",
    "Nudge",
    "Phase",
    "Pipeline",
    "Price",
    "ProviderTool",
    "Raise",
    "Run",
    "RunResult",
    "Runtime",
    "Stalled",
    "Tiers",
    "Tool",
    "ToolContext",
    "ToolFailure",
    "ToolResult",
    "Usage",
    "Wait",
    "WebhookTarget",
    "__version__",
    "tool",
)

_HOME = {
    "Access": "holdfast.models.access.access",
    "Agent": "holdfast.runtime.agent",
    "Control": "holdfast.types",
    "Critic": "holdfast.runtime.guarding.critic",
    "CustomServer": "holdfast.models.access.servers",
    "Delivery": "holdfast.runtime.delivering.port",
    "Document": "holdfast.types",
    "Effect": "holdfast.types",
    "Event": "holdfast.types",
    "Execution": "holdfast.types",
    "Extend": "holdfast.runtime.guarding.critic",
    "Failover": "holdfast.models.routing.chain",
    "FunctionTarget": "holdfast.runtime.delivering.targets.function",
    "HoldfastError": "holdfast.errors",
    "Hooks": "holdfast.runtime.delivering.hooks",
    "Image": "holdfast.types",
    "Kill": "holdfast.runtime.guarding.critic",
    "Limits": "holdfast.types",
    "ModelUse": "holdfast.runtime.run",
    "Nudge": "holdfast.runtime.guarding.critic",
    "Phase": "holdfast.runtime.pipelines",
    "Pipeline": "holdfast.runtime.pipelines",
    "Price": "holdfast.types",
    "ProviderTool": "holdfast.types",
    "Raise": "holdfast.runtime.guarding.critic",
    "Run": "holdfast.runtime.run",
    "RunResult": "holdfast.runtime.run",
    "Runtime": "holdfast.runtime.runtime",
    "Stalled": "holdfast.runtime.guarding.critic",
    "Tiers": "holdfast.models.routing.tiers",
    "Tool": "holdfast.tools.binding",
    "ToolContext": "holdfast.tools.binding",
    "ToolFailure": "holdfast.tools.binding",
    "ToolResult": "holdfast.types",
    "Usage": "holdfast.types",
    "Wait": "holdfast.types",
    "WebhookTarget": "holdfast.runtime.delivering.targets.webhook",
    "tool": "holdfast.tools.declaring",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    if watched := gc.isenabled():  # another thread may be loading, and turns it on again
        gc.disable()  # what is loaded stays: to look through it for garbage again and again is a tenth of the time
    try:
        value = getattr(import_module(_HOME[name]), name)
    finally:
        if watched:
            gc.enable()
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
