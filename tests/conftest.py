"""What all tests share: how hard those with generated data try, whom they may talk to, and that they are heard."""

import ipaddress
import signal
import sys
from typing import Any

from hypothesis import HealthCheck, settings

# How long a busy machine takes to make up data says nothing of the code.
settings.register_profile("whole", suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=settings.get_profile("whole"), max_examples=15)
settings.load_profile("whole")

# A shell has what it starts in the background ignore SIGINT, and all that this starts would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _stay_here(event: str, given: tuple[Any, ...]) -> None:
    """Refuses a connection that would leave this machine; unlike a patch it is nobody's to undo."""
    if event not in ("socket.connect", "socket.sendto") or not isinstance(given[1], tuple):
        return
    host = str(given[1][0]).partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        here = host in ("", "localhost")
    else:
        address = getattr(address, "ipv4_mapped", None) or address
        here = address.is_loopback or address.is_unspecified
    if not here:
        raise AssertionError(f"a test talks to {host!r}: play that server on 127.0.0.1")


sys.addaudithook(_stay_here)
