"""`holdfast models`: where its commands are."""

from __future__ import annotations

import click

from holdfast.cli.models.checking import check
from holdfast.cli.models.listing import list_
from holdfast.cli.models.showing import show

__all__ = ("models",)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def models() -> None:
    """See what is known of models: prices, windows, what they read, how they think.

    A model nobody described can be used all the same: its price is unknown then, and so is what a run with it costs.
    """


for _each in (list_, show, check):
    models.add_command(_each)
