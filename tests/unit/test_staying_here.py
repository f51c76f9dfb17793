"""No test reaches beyond this machine, whatever it means to test."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.requirement("repo:no-network-in-tests")
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_whoever_talks_to_another_machine_is_stopped_and_told_what_to_do(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as end, pytest.raises(AssertionError, match=r"127\.0\.0\.1"):
        end.connect((host, 9))
    with socket.socket(family, socket.SOCK_DGRAM) as end, pytest.raises(AssertionError):
        end.sendto(b"", (host, 9))


@pytest.mark.requirement("repo:no-network-in-tests")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "0.0.0.0", "localhost"])
def test_whoever_talks_to_this_machine_is_let(host: str) -> None:
    with socket.socket() as end, pytest.raises(ConnectionRefusedError):
        end.connect((host, 9))
