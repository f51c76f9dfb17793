"""What all tests share: how hard those with generated data try, whom they may talk to, and that they are heard."""

import gc
import ipaddress
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

SETTINGS = "_hypothesis_internal_use_settings"
"""Where the library keeps what a test's decorator said; it has no public name for it."""

# How long a busy machine takes to make up data says nothing of the code.
settings.register_profile("whole", suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=settings.get_profile("whole"), max_examples=15)
settings.load_profile("whole")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the quick profile quick where a test says itself how often it tries."""
    if config.getoption("--hypothesis-profile") != "quick":
        return
    most = settings.get_profile("quick").max_examples
    for item in items:
        test = getattr(item, "obj", None)
        own = getattr(test, SETTINGS, None)
        if isinstance(own, settings) and own.max_examples > most:
            setattr(test, SETTINGS, settings(own, max_examples=most))


# What is collected stays to the end: to look through it again and again for garbage takes longer than many tests.
gc.disable()


def pytest_collection_finish() -> None:
    """Looks for garbage from here on, among what tests make."""
    gc.freeze()
    gc.enable()


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


@pytest.fixture(scope="session")
def snippets_cache(request: pytest.FixtureRequest) -> Path:
    """What `XDG_CACHE_HOME` is for those that run snippets: the interpreter in it is there until `make clean`."""
    assert request.config.cache is not None
    return Path(request.config.cache.mkdir("snippets"))


@pytest.fixture(scope="session")
def snippets_folder(snippets_cache: Path) -> Path:
    """Where the interpreter for snippets is; it takes half a minute to build, once for all of these tests."""
    from holdfast.sandbox.snippets.building import compiled
    from holdfast.sandbox.snippets.engines import compile_component

    folder = snippets_cache / "holdfast" / "interpreter"
    compiled(folder, None, compile_component, print)  # here, where no test's time runs
    return folder
