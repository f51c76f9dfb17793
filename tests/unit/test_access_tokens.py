"""Tokens of issuers: verified against keys from a real server on loopback, and hostile ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from tests.loopback import Request, Server, answer, serving
from tests.running import until

from holdfast.errors import UsageError
from holdfast.server.access.principal import Rates
from holdfast.server.access.tokens.issuer import Issuer
from holdfast.server.access.tokens.signing import BETWEEN, FRESH, STALE
from holdfast.server.access.tokens.verifying import Tokens
from holdfast.server.problems import Refused
from holdfast.testing.clock import FakeClock

RSA_ONE = rsa.generate_private_key(65537, 2048)
RSA_TWO = rsa.generate_private_key(65537, 2048)
EC_ONE = ec.generate_private_key(ec.SECP256R1())


def published(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    kind: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


@dataclass
class Provider:
    """An issuer on loopback."""

    server: Server
    clock: FakeClock
    keys: list[dict[str, Any]] = field(default_factory=list)
    status: str = "200 OK"
    held: asyncio.Event | None = None
    """Answers wait for it."""

    @property
    def fetched(self) -> int:
        return sum("jwks" in each.line for each in self.server.requests)

    def token(self, key: Any = RSA_ONE, kid: str | None = "one", algorithm: str = "RS256", **claims: Any) -> str:
        now = self.clock.now() // 1_000_000
        body = {"iss": self.server.url, "aud": "holdfast", "sub": "ada", "exp": now + 600, "roles": ["dev"], **claims}
        headers = {} if kid is None else {"kid": kid}
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(body, key, algorithm, headers)

    def issuer(self, **more: Any) -> Issuer:
        given: dict[str, Any] = {
            "jwks_url": f"{self.server.url}/jwks",
            "tenant": "acme",
            "roles": {"dev": "writer"},
            **more,
        }
        return Issuer(issuer=self.server.url, audience="holdfast", allowed_ranges=("127.0.0.1",), **given)


@asynccontextmanager
async def provider() -> AsyncGenerator[Provider]:
    async def handle(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        if found.held is not None:
            await found.held.wait()
        document: Any = {"keys": found.keys}
        if "openid" in request.line:
            document = {"issuer": server.url, "jwks_uri": f"{server.url}/jwks"}
        writer.write(answer(json.dumps(document).encode(), found.status))

    async with serving(handle) as server:
        found = Provider(server, FakeClock(), [published(RSA_ONE, "one"), published(EC_ONE, "curve")])
        yield found


@asynccontextmanager
async def tokens_of(given: Provider, **more: Any) -> AsyncGenerator[Tokens]:
    tokens = Tokens((given.issuer(**more),), given.clock)
    try:
        yield tokens
    finally:
        await tokens.close()


@pytest.mark.requirement("server_access:oidc-verified")
async def test_a_token_of_an_issuer_speaks_for_whom_its_claims_name() -> None:
    async with provider() as given, tokens_of(given, agents_claim="app.agents") as tokens:
        text = given.token(jti="t-1", app={"agents": ["billing-*"]})
        who = await tokens.recognise(text)
        assert who is not None
        assert (who.tenant, who.user, who.how, who.id) == ("acme", "ada", "token", "t-1")
        assert who.may("sessions:write") and not who.may("admin") and who.may_ask("billing-eu") is True
        assert not who.may_ask("support")
        nothing = await tokens.recognise(given.token(roles=["unknown"]))
        assert nothing is not None and not nothing.scopes
        curve = await tokens.recognise(given.token(EC_ONE, "curve", "ES256"))
        assert curve is not None and curve.user == "ada"
        assert given.fetched == 1, "keys are kept"


@pytest.mark.requirement("server_access:oidc-verified")
async def test_where_an_issuer_publishes_its_keys_is_found_by_its_own_document() -> None:
    async with provider() as given, tokens_of(given, jwks_url="") as tokens:
        assert await tokens.recognise(given.token()) is not None


@pytest.mark.requirement("server_access:oidc-verified")
async def test_a_token_holds_for_its_audience_and_time_give_or_take_a_configured_skew() -> None:
    async with provider() as given, tokens_of(given, leeway=30.0) as tokens:
        now = given.clock.now() // 1_000_000
        for good in ({"exp": now - 29}, {"nbf": now + 29}, {"iat": now + 29}, {"aud": ["other", "holdfast"]}):
            assert await tokens.recognise(given.token(**cast("Any", good))) is not None, good
        for late in ({"exp": now - 31}, {"nbf": now + 31}, {"iat": now + 31}, {"aud": "other"}, {"exp": True}):
            with pytest.raises(Refused) as refused:
                await tokens.recognise(given.token(**cast("Any", late)))
            assert (refused.value.status, refused.value.code) == (401, "token_not_good"), late
        for bad in ({"exp": None}, {"aud": None}, {"iss": "http://other.example"}, {"iss": None}):
            assert await tokens.recognise(given.token(**cast("Any", bad))) is None, bad


@pytest.mark.requirement("server_access:oidc-tenants")
async def test_an_issuer_names_only_tenants_that_are_its_own() -> None:
    more: dict[str, Any] = {"tenant": "", "tenant_claim": "org.id", "tenants": ("acme",), "user_prefix": "idp:"}
    async with provider() as given, tokens_of(given, **more) as tokens:
        who = await tokens.recognise(given.token(org={"id": "acme"}, sub="x/../y"))
        assert who is not None and (who.tenant, who.user) == ("acme", "idp:x%2F..%2Fy")
        twin = await tokens.recognise(given.token(org={"id": "acme"}, sub="x%2F..%2Fy"))
        assert twin is not None and twin.user != who.user, "two are never one"
        for org in ({"id": "evil"}, {"id": "local"}, {"id": ["acme"]}, {}, "acme", None):
            with pytest.raises(Refused) as refused:
                await tokens.recognise(given.token(org=org))
            assert refused.value.code == "token_unmapped"
        for subject in ("", "x" * 200, "a\nb" * 40, None):
            with pytest.raises(Refused) as refused:
                await tokens.recognise(given.token(org={"id": "acme"}, sub=subject))
            assert refused.value.code == "token_unmapped"
        assert await tokens.recognise(given.token(org={"id": "acme"}, sub="\ud800")) is None
    anybody = Issuer(issuer="https://a", audience="x", tenant_claim="t", tenants=("*",))
    assert anybody.may_name("acme") and not anybody.may_name("local")


@pytest.mark.requirement("server_access:jwks-rotated")
async def test_a_key_that_is_new_is_fetched_once_for_all_who_need_it() -> None:
    async with provider() as given, tokens_of(given) as tokens:
        assert await tokens.recognise(given.token()) is not None
        given.keys = [published(RSA_ONE, "one"), published(RSA_TWO, "two")]
        await given.clock.advance(BETWEEN)
        new = given.token(RSA_TWO, "two")
        found = await asyncio.gather(*(tokens.recognise(new) for _ in range(100)))
        assert all(who is not None for who in found) and given.fetched == 2
        given.keys = [published(RSA_TWO, "two")]
        await given.clock.advance(FRESH)
        assert await tokens.recognise(given.token()) is not None, "nobody waits while they are fetched again"
        task = tokens.keys_of(given.server.url)._fetching
        assert task is not None
        await task
        assert await tokens.recognise(given.token()) is None, "what is withdrawn is good no more"


@pytest.mark.requirement("server_access:jwks-no-storm")
async def test_tokens_that_name_keys_there_are_not_cause_one_fetch_in_half_a_minute() -> None:
    async with provider() as given, tokens_of(given) as tokens:
        assert await tokens.recognise(given.token()) is not None
        for number in range(200):
            assert await tokens.recognise(given.token(RSA_TWO, f"kid-{number}")) is None
        assert given.fetched == 1
        await given.clock.advance(BETWEEN)
        await asyncio.gather(*(tokens.recognise(given.token(RSA_TWO, f"kid-{n}")) for n in range(50)))
        assert given.fetched == 2


@pytest.mark.requirement("server_access:jwks-outage")
async def test_an_issuer_that_is_away_is_believed_by_the_keys_it_had_for_a_bounded_time() -> None:
    async with provider() as given, tokens_of(given) as tokens:
        assert await tokens.recognise(given.token()) is not None
        given.status = "500 Broken"
        await given.clock.advance(STALE - 1)
        text = given.token()
        assert await tokens.recognise(text) is not None
        await given.clock.advance(BETWEEN)
        with pytest.raises(Refused) as refused:
            await tokens.recognise(given.token())
        assert (refused.value.status, refused.value.code) == (503, "issuer_unreachable")
        tried = given.fetched
        for _ in range(20):
            with pytest.raises(Refused):
                await tokens.recognise(given.token())
        assert given.fetched == tried, "one that is away is not asked for each request"
        given.status = "200 OK"
        await given.clock.advance(BETWEEN)
        assert await tokens.recognise(given.token()) is not None


@pytest.mark.requirement("server_access:jwks-outage")
async def test_an_issuer_that_never_answers_holds_nobody_for_longer_than_ten_seconds() -> None:
    async with provider() as given, tokens_of(given) as tokens:
        given.held = asyncio.Event()
        asked = [asyncio.create_task(tokens.recognise(given.token())) for _ in range(5)]
        await until(lambda: bool(given.server.requests))
        await given.clock.advance(10)
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, Refused) and each.code == "issuer_unreachable" for each in results)
        given.held.set()


def forged(header: Any, body: Any, signature: bytes = b"x") -> str:
    parts = (header if isinstance(header, bytes) else json.dumps(header).encode(), json.dumps(body).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.requirement("server_access:jwt-hostile")
async def test_forged_tokens_are_refused_and_cause_no_fetch() -> None:
    async with provider() as given, tokens_of(given) as tokens:
        body = {"iss": given.server.url, "aud": "holdfast", "sub": "ada", "exp": 9_999_999_999}
        public = RSA_ONE.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signed = forged({"alg": "HS256", "kid": "one"}, body).rpartition(".")[0]
        confused = base64.urlsafe_b64encode(hmac.new(public, signed.encode(), hashlib.sha256).digest())
        nested = b'{"alg":"RS256","x":' + b"[" * 3000 + b"]" * 3000 + b"}"
        hostile = {
            "none": forged({"alg": "none"}, body, b""),
            "None": forged({"alg": "nOnE", "kid": "one"}, body, b""),
            "hmac with the public key": f"{signed}.{confused.rstrip(b'=').decode()}",
            "an algorithm that is not configured": given.token(RSA_ONE, "one", "RS512"),
            "huge": "ey" + "a" * 9000 + ".b.c",
            "a huge claim": given.token(x="a" * 9000),
            "nested": forged(nested, body),
            "no object": forged([1], body),
            "no text as a key's name": forged({"alg": "RS256", "kid": 7}, body),
            "a long name of a key": forged({"alg": "RS256", "kid": "k" * 300}, body),
            "an unknown extension": forged({"alg": "RS256", "kid": "one", "crit": ["b64"]}, body),
            "no base64": "ey*.ey*.***",
            "empty parts": "ey..",
            "not ascii": "eyé.ü.ö",
        }
        for name, text in hostile.items():
            assert await tokens.recognise(text) is None, name
        assert given.fetched == 0


@pytest.mark.requirement("server_access:jwt-hostile")
async def test_what_a_token_says_of_its_key_is_not_followed() -> None:
    async with provider() as given, tokens_of(given) as tokens, serving() as trap:
        assert await tokens.recognise(given.token()) is not None
        now = given.clock.now() // 1_000_000
        body = {"iss": given.server.url, "aud": "holdfast", "sub": "ada", "exp": now + 600, "roles": ["dev"]}
        own = published(RSA_TWO, "one")
        for header in (
            {"jku": f"{trap.url}/jwks", "kid": "one"},
            {"x5u": trap.url, "kid": "one"},
            {"jwk": own, "kid": "one"},
            {"kid": f"{trap.url}/jwks"},
            {"kid": "../../../../dev/null"},
            {"kid": "one' OR 1=1 --"},
            {"kid": "curve"},
        ):
            assert await tokens.recognise(jwt.encode(body, RSA_TWO, "RS256", header)) is None, header
        assert not trap.requests and given.fetched == 1


@pytest.mark.requirement("server_access:jwt-hostile")
async def test_keys_that_are_published_for_something_else_sign_nothing() -> None:
    async with provider() as given, tokens_of(given, algorithms=("RS256", "PS256")) as tokens:
        secret = base64.urlsafe_b64encode(b"s" * 32).decode()
        given.keys = [
            published(RSA_ONE, "enc", use="enc"),
            published(RSA_ONE, "ps", alg="PS256"),
            {"kty": "oct", "kid": "oct", "k": secret},
            {"kty": "RSA", "kid": "broken", "n": "AA"},
            {"kty": ["RSA"], "kid": "odd"},
        ]
        for kid in ("enc", "ps", "oct", "broken", "odd"):
            assert await tokens.recognise(given.token(kid=kid)) is None, kid


@pytest.mark.requirement("server_access:oidc-configured")
def test_what_is_configured_of_an_issuer_is_checked_when_it_is_read() -> None:
    good: dict[str, Any] = {"issuer": "https://idp.example", "audience": "x", "tenant": "acme"}
    Issuer(**good)
    for bad in (
        {"algorithms": ("none",)},
        {"algorithms": ("HS256",)},
        {"algorithms": ()},
        {"audience": ""},
        {"issuer": "idp"},
        {"jwks_url": "file:///etc/passwd"},
        {"tenant": "a/b"},
        {"tenant": ""},
        {"tenant_claim": "org"},
        {"tenant": "", "tenant_claim": "org"},
        {"leeway": 4000.0},
        {"roles": {"dev": "king"}},
        {"rates": Rates(requests=-1.0)},
    ):
        with pytest.raises(UsageError):
            Issuer(**cast("Any", {**good, **bad}))
    with pytest.raises(UsageError, match="twice"):
        Tokens((Issuer(**good), Issuer(**good)), FakeClock())
