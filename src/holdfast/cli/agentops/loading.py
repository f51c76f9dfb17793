"""What both commands begin with: the file, the environment, and what is to be said of them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from holdfast.cli.words import printable
from holdfast.server.doors.agentops.configuring.making import Configured, configured

__all__ = ("CONFIG", "load")

CONFIG = "/etc/operator/config.json"
"""Where an operator puts the file (source: AgentOps 0)."""


def load(path: Path, *, daemon: bool) -> Configured:
    """Returns what the file comes to, with what is warned of said, and the environment as the providers need it.

    Raises:
        UsageError: something in it cannot be; the message names the field.
    """
    found = configured(path, os.environ, daemon=daemon)
    os.environ.update(found.environment)
    for each in found.warnings:
        click.echo(f"note {printable(each)}", err=True)
    return found
