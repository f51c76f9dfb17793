"""What a server answers instead of what was wanted, as the errors that a store would raise, and what a person can do.

Each is two lines: what is wrong, and what helps.
"""

from __future__ import annotations

import inspect

import msgspec

from holdfast import errors
from holdfast.errors import HoldfastError, NetError, NotConnected, ProtocolError, UnknownSession, UsageError

__all__ = ("Problem", "Refusal", "away", "no_server", "read_problem", "refusal", "told", "too_old", "unreached")


class Problem(msgspec.Struct, frozen=True):
    """A body of `application/problem+json`, as far as it is read here; of anything else nothing is known."""

    code: str = ""
    detail: str = ""
    request_id: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """An answer that is not what was wanted."""

    status: int
    problem: Problem = Problem()
    retry_after: str = ""

    @property
    def passing(self) -> bool:
        """Whether it is the server's state and not the request: it may be well again in a moment."""
        return self.status in (502, 503, 504)


def _by_code() -> dict[str, type[UsageError]]:
    """Returns the errors that need nothing but words, by their codes."""
    return {
        kind.code: kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, UsageError) and kind.__init__ is HoldfastError.__init__
    }


def read_problem(body: bytes) -> Problem:
    """Returns what a body says of why it was refused; nothing where it is something else's."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Problem()


def refusal(place: str, answer: Refusal, *, keyed: bool) -> HoldfastError:
    """Returns an answer that is not what was wanted as an error; `keyed` is whether a key was sent along."""
    status, problem = answer.status, answer.problem
    words = " ".join(problem.detail.split())[:500] or f"it answers {status}"
    match status:
        case 401 if keyed:
            return UsageError(
                f"{place} does not take this key: {words}\n"
                "have one made (holdfast serve keys create), and put it into HOLDFAST_API_KEY or a --key-file"
            )
        case 401:
            return UsageError(
                f"{place} wants to know who you are, and no key was given\n"
                "put one into HOLDFAST_API_KEY, or into a file that --key-file names"
            )
        case 403:
            return errors.PolicyDenied(
                f"{place} does not let this key do that: {words}\n"
                "ask whoever runs the server for a key with that scope, role or agent"
            )
        case 404 if problem.code in ("", "unknown_session", "not_found"):
            return UnknownSession(
                f"{place} has no such session for you: {words}\n"
                f"what is another's is not there, too; what is yours: holdfast runs list --server {place}"
            )
        case 429:
            later = f" in {answer.retry_after} s" if answer.retry_after else " a little later"
            return _by_code().get(problem.code, UsageError)(
                f"{place} takes no more of this for now: {words}\nask again{later}"
            )
        case _ if answer.passing:
            return away(place, words)
        case _ if status >= 500:
            named = f" under {problem.request_id}" if problem.request_id else ""
            return NetError(f"{place} could not do it: {words}\nits log says why{named}")
        case _:
            return _by_code().get(problem.code, UsageError)(words)


def away(place: str, why: str) -> NotConnected:
    """Returns that a server cannot be reached, for now."""
    return NotConnected(f"{place} is away: {why}\nsee whether it runs there (holdfast serve), and try again")


def unreached(place: str, error: NetError) -> NetError:
    """Returns why nothing came from a server, with what helps."""
    why = " ".join(str(error).split())
    if isinstance(error, NotConnected) and "secure connection" in why:
        return NotConnected(
            f"{place} is not believed: {why.partition(';')[0]}\n"
            "if its certificate is of your own making, name its authority: SSL_CERT_FILE=ca.pem holdfast ..."
        )
    if isinstance(error, errors.ConnectionBroken | errors.NetTimeout):
        return away(place, why.partition(";")[0])
    if isinstance(error, ProtocolError):
        return no_server(place)
    return error


def told(error: NetError) -> str:
    """Returns in few words why nothing comes from a server that was there."""
    if isinstance(error, errors.NetTimeout):
        return "it went silent"
    if isinstance(error, ProtocolError):
        return "what comes is no HTTP"
    if not isinstance(error, NotConnected):
        return "the connection broke"
    _, sign, why = str(error).partition("\n")[0].partition(" is away: ")
    return why if sign and "connection" not in why else "no connection"


def no_server(place: str) -> ProtocolError:
    """Returns that something else answers there."""
    return ProtocolError(
        f"what answers at {place} is no Holdfast server\nname the address that `holdfast serve` shows when it begins"
    )


def too_old(place: str, version: str, least: str) -> ProtocolError:
    """Returns that a server cannot do what is asked of it here."""
    return ProtocolError(
        f"{place} runs Holdfast {version}, and these commands speak to {least} or newer\n"
        f"have the server updated, or use the commands of Holdfast {version}"
    )
