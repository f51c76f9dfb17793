"""`holdfast tools`: where its commands are."""

from __future__ import annotations

import click

from holdfast.cli.tools.calling import call
from holdfast.cli.tools.describing import describe
from holdfast.cli.tools.explaining import explain
from holdfast.cli.tools.listing import list_
from holdfast.cli.tools.scaffolding import scaffold
from holdfast.cli.tools.trying import test

__all__ = ("tools",)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def tools() -> None:
    """See which tools there are, call one by hand, try one, and find out whether an agent may call it.

    REF names a tool: a built-in one by its name (read), one of yours as module:function, where the module is
    installed or in this folder, and one that is declared as file.yaml, or file.yaml#name.

    \b
      holdfast tools list
      holdfast tools describe grep
      holdfast tools call grep pattern=TODO path=src
      holdfast tools explain coder bash '{"command": "ls"}' --mode ask
    """  # noqa: D301 - click's own mark for lines that stay as they are


for _each in (list_, describe, call, explain, test, scaffold):
    tools.add_command(_each)
