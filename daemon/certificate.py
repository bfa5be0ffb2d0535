"""The certificate of the TCP side: the one in use, and the one on disk taken up in its place; an edge that reads files.

A server keeps one context for its whole life; each connection is given the context of the certificate in use.
Invariant: files that cannot be used, or do not belong together, leave the certificate in use as it is.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from daemon.console.settings import ConsoleSettings
from registry.errors import EXIT_CONFIGURATION, DeltakeepError


class CertificateRefused(DeltakeepError):
    """The certificate on disk cannot be used."""

    exit_code_of_class = EXIT_CONFIGURATION


def certificate_of(settings: ConsoleSettings) -> Certificate | None:
    """The certificate that a project names, or None for none; raises `CertificateRefused`."""
    chain, key = settings.tls_certificate, settings.tls_key
    return None if chain is None or key is None else Certificate(chain, key)


class Certificate:
    """A certificate with its chain, and its key, in files of PEM."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Raises `CertificateRefused`."""
        self._chain, self._key = chain, key
        self._in_use = self._read()

    def serve(self, context: ssl.SSLContext) -> None:
        """Let a server's context give each connection the certificate in use."""
        context.sni_callback = self._choose

    def renew(self) -> None:
        """Use what is on disk for connections to come; raises `CertificateRefused`, and changes nothing then."""
        self._in_use = self._read()

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        # OpenSSL asks for every connection, also for one that names no host.
        connection.context = self._in_use

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # A key with a password would make OpenSSL ask for it at a terminal.
            context.load_cert_chain(self._chain, self._key, password="")
        except (OSError, ValueError) as error:
            raise CertificateRefused(
                "certificate_refused",
                f'TLS cannot be used with "{self._chain}" and "{self._key}": {error}',
                hint="[daemon] tls_certificate and tls_key have to name files in PEM that belong together",
            ) from error
        return context
