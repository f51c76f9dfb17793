"""The checks, and which of them mean something for a wire."""

from __future__ import annotations

from holdfast.testing.conformance.transports import calling, ending
from holdfast.testing.conformance.transports.calling import Check
from holdfast.testing.conformance.transports.peer import Traits

__all__ = ("CHECKS", "Check", "checks_for")

_AUTHENTICATED: tuple[Check, ...] = (
    calling.only_who_brings_the_credential_is_let_in,
    calling.secrets_appear_nowhere,
)
CHECKS: tuple[Check, ...] = (
    calling.a_call_that_goes_well,
    calling.a_failure_says_what_the_tool_said,
    calling.nothing_there_is_an_error_that_may_be_tried_again,
    calling.a_crash_is_no_result_and_not_repeated_where_it_may_have_acted,
    calling.a_lie_breaks_the_contract,
    calling.many_calls_at_once,
    ending.too_much_is_not_read,
    ending.a_call_that_takes_too_long_is_left,
    ending.a_cancelled_call_is_over_at_once,
    *_AUTHENTICATED,
)
"""Every check."""


def checks_for(traits: Traits) -> tuple[Check, ...]:
    """Returns the checks that mean something for a wire like that."""
    without: set[Check] = set()
    if not traits.authenticated:
        without.update(_AUTHENTICATED)
    if not traits.lies:
        without.add(calling.a_lie_breaks_the_contract)
    return tuple(check for check in CHECKS if check not in without)
