"""Keeps other pages in the user's browser away from a server without passwords."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    # allow only this server's own script, style and pictures; send nothing elsewhere; no frames in other pages
    'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
}


class Guard:
    """ASGI middleware: checks Host and Origin, and adds the headers of :data:`SECURITY_HEADERS` to each response.

    An attacker can point a name of theirs at this machine (DNS rebinding); the browser then treats the attacker's page
    and this server as one origin. The request still has that name in its Host header, so only known names are answered.
    A page of another origin that posts here names itself in the Origin header.

    Args:
        names: this server's names, without port.
        any_address: whether to accept all IP addresses, not only loopback ones; an address cannot be rebound.
        proxies: addresses or networks of proxies. Their X-Forwarded-Host and X-Forwarded-Proto replace the Host header
            and the scheme; from other clients these headers are ignored.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = (), any_address: bool = False, proxies: Iterable[str] = ()):
        self.app = app
        self.proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        self.names = {'localhost', *(name.lower().rstrip('.') for name in names)}
        self.any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        if scope['type'] != 'http':
            await send({'type': 'websocket.close', 'code': 1008})
            return

        if self._is_of_a_proxy(scope):
            scope = forwarded(scope)

        async def send_with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                extra = [(key.encode(), value.encode()) for key, value in SECURITY_HEADERS.items()]
                message['headers'] = [*message.get('headers', ()), *extra]
            await send(message)

        problem = self.problem(scope)
        if problem is None:
            await self.app(scope, receive, send_with_headers)
        else:
            await JSONResponse({'error': problem}, 403)(scope, receive, send_with_headers)

    def problem(self, scope: Scope) -> str | None:
        """Why a request is refused, or None."""
        headers: dict[bytes, list[bytes]] = {}
        for key, value in scope['headers']:
            headers.setdefault(key, []).append(value)
        hosts = headers.get(b'host', [])
        if len(hosts) != 1:
            return 'The request needs one Host header.'
        host = hosts[0].decode('latin-1')
        if not self._is_ours(host):
            return f'This server is not known as {host[:100]!r}: start it with --allow-host NAME if it should be.'
        for origin in headers.get(b'origin', []):
            if urlsplit(origin.decode('latin-1')).netloc.lower() != host.lower():
                return 'Requests from pages of other origins are not answered.'
        return None

    def _is_of_a_proxy(self, scope: Scope) -> bool:
        try:
            address = ipaddress.ip_address((scope.get('client') or ('',))[0])
        except ValueError:
            return False
        return any(address in network for network in self.proxies)

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f'//{host}').hostname or '').rstrip('.')
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address or address.is_loopback


def forwarded(scope: Scope) -> Scope:
    """A copy of the scope with the Host header and the scheme that a proxy received.

    Of several values the last one counts: the trusted proxy added it.
    """
    given = {key: value.rpartition(b',')[2].strip() for key, value in scope['headers']}
    scope = dict(scope)
    host, scheme = given.get(b'x-forwarded-host'), given.get(b'x-forwarded-proto')
    if host:
        scope['headers'] = [(b'host', host), *(pair for pair in scope['headers'] if pair[0] != b'host')]
    if scheme in (b'http', b'https'):
        scope['scheme'] = scheme.decode()
    return scope
