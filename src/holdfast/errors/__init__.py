"""What goes wrong, as one tree of errors, and what an error says of names that nobody knows.

Purpose: every error that Holdfast raises on purpose, by what a caller can do about it.
Knows: nothing.
Must not know: who raises them; files, clocks, asyncio.
Start reading at: `tree.py`, which draws it; each class stands in one of the other files, by who raises it.

A class is written once and named once, in the `__all__` of its file: this door lets through what those say.
"""
# ruff: noqa: F403 - see above

from holdfast.errors import models, network, root, sandbox, storage, usage
from holdfast.errors.models import *
from holdfast.errors.network import *
from holdfast.errors.root import *
from holdfast.errors.sandbox import *
from holdfast.errors.storage import *
from holdfast.errors.usage import *

__all__ = ()
__all__ += root.__all__
__all__ += usage.__all__
__all__ += storage.__all__
__all__ += network.__all__
__all__ += sandbox.__all__
__all__ += models.__all__
