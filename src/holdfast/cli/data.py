"""What `-o json` prints: one object, every key of it always there, and money in US dollars.

What is stored leaves out what is nothing; a script that reads `usage.output_tokens` should not have to know that.
The lines of `-o jsonl` are the log itself, as it is stored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.runtime.run import RunResult

__all__ = ("of_result", "printed")


def printed(value: object) -> str:
    """Returns data as it is printed: indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def of_result(result: RunResult[Any]) -> dict[str, Any]:
    """Returns a run's result with all of its keys."""
    models = {
        name: msgspec.structs.asdict(use) | {"usage": msgspec.structs.asdict(use.usage)}
        for name, use in result.models.items()
    }
    return msgspec.structs.asdict(result) | {"usage": msgspec.structs.asdict(result.usage), "models": models}
