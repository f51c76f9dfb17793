"""The certificate authority of one sandbox: it vouches for every host to this sandbox, and to nobody else.

The only place that knows the library `cryptography`, an extra of the package (`egress`), loaded when an authority is
made. Keys never leave this process but for the moment in which OpenSSL reads one from a file of ours. An authority
lives as long as its sandbox; what it signed is worth nothing elsewhere.
"""

from __future__ import annotations

import ssl
import tempfile
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, final

from holdfast.errors import IsolationMissing

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ("CertificateAuthority", "is_installed")

_KEPT: Final = 256
"""Hosts whose certificates are kept."""
_YEAR: Final = timedelta(days=365)
_SKEW: Final = timedelta(hours=1)


def is_installed() -> bool:
    """Returns whether there is what an authority takes, without loading it."""
    return find_spec("cryptography") is not None


@final
class CertificateAuthority:
    """Makes certificates for the hosts a sandbox talks to."""

    def __init__(self, name: str = "sandbox") -> None:
        """Makes a new one; `name` is how clients show it.

        Raises:
            IsolationMissing: the library for it is not installed.
        """
        try:
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - an extra
        except ImportError:
            message = "rules about methods and paths need TLS to be read: pip install 'holdfast[egress]'"
            raise IsolationMissing(message) from None
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._root = self._signed(f"Holdfast {name}", self._key, host="")
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    @property
    def pem(self) -> str:
        """What the sandbox's programs have to trust."""
        return _pem_of(self._root)

    def context_for(self, host: str) -> ssl.SSLContext:
        """Returns what ends TLS in the name of a host or address; it speaks HTTP/1.1 only."""
        context = self._contexts.get(host)
        if context is None:
            context = self._made(host)
            self._contexts[host] = context
            if len(self._contexts) > _KEPT:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(host)
        return context

    def _made(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        chain = _pem_of(self._signed(host, self._leaf_key, host=host)) + self.pem + _pem_of_key(self._leaf_key)
        with tempfile.NamedTemporaryFile("w", encoding="ascii", suffix=".pem") as file:  # OpenSSL reads files only
            file.write(chain)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, *, host: str) -> x509.Certificate:
        """Returns a certificate: for a host, or without one the authority's own."""
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._root.subject if host else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + _YEAR)
            .add_extension(x509.BasicConstraints(ca=not host, path_length=None if host else 0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(signs=not host), critical=True)
        )
        if host:
            names = x509.SubjectAlternativeName([_general_name(host)])
            serves = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            built = built.add_extension(names, critical=False).add_extension(serves, critical=False)
        return built.sign(self._key, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509  # noqa: PLC0415

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem_of(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
