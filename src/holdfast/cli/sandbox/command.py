"""`holdfast sandbox`: where its commands are."""

from __future__ import annotations

import click

from holdfast.cli.history.committing import commit
from holdfast.cli.sandbox.benching import bench
from holdfast.cli.sandbox.files import diff, rollback, snapshots
from holdfast.cli.sandbox.policies import explain, export, lint
from holdfast.cli.sandbox.probing import probe
from holdfast.cli.sandbox.running import run
from holdfast.cli.sandbox.shell import shell

__all__ = ("sandbox",)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def sandbox() -> None:
    """Try the sandboxes of this machine, work in one, see and take back what a session did there, look into policies.

    A sandbox is named by its backend, or by the file of a profile, which says what to require, what may be reached, and
    how much may be used.
    """


for _each in (bench, probe, run, shell, snapshots, diff, rollback, commit, explain, lint, export):
    sandbox.add_command(_each)
