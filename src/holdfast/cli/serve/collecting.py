"""How often a server stops to look for garbage.

Nearly all that is done with here is freed at once; what holds itself in a circle has to be looked for, and meanwhile
nobody is served. To look at what two thousand live streams do at one moment takes 20 ms, to look at all that ten
thousand hold half a second. As Python has it, that comes again and again under load; here, when there is as much more
of everything as some hundred streams have, and for all of it, some ten thousand.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ("collect_rarely",)

_NEW: Final = 20_000
"""Objects that are there more than were, when what is new is looked through."""
_ROUNDS: Final = (10, 50)
"""How often that is done until what lasted once is looked through, too, and how often that until everything is."""


def collect_rarely() -> None:
    """Looks through everything once, leaves out for good what is there now, and has the rest looked at rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW, *_ROUNDS)
