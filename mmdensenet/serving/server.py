"""Runs the application on this machine."""

import ipaddress
import socket
import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from mmdensenet.errors import UserError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections.

    Args:
        host: the address or name to listen on.
        port: 0 chooses a free port.

    Raises:
        UserError: if there is no such address here, or the port is taken.
    """
    if not 0 <= port < 1 << 16:
        raise UserError(f'port={port}: give 1 to 65535, or 0 for a free one.')
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UserError(f'host={host} port={port}: this is no address ({error}).') from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(1024)
    except OSError as error:
        opened.close()
        raise UserError(
            f'host={host} port={port} cannot be used ({error.strerror}): give another, or port=0 for a free one.'
        ) from error
    return opened


def is_local(opened: socket.socket) -> bool:
    """Whether only this machine can connect."""
    return ipaddress.ip_address(opened.getsockname()[0].partition('%')[0]).is_loopback


def names_of(opened: socket.socket) -> tuple[str, ...]:
    """This machine's names for other machines, if they can connect."""
    return () if is_local(opened) else (socket.gethostname(), socket.getfqdn())


def url_of(opened: socket.socket) -> str:
    host, port = opened.getsockname()[:2]
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def serve(app: FastAPI, opened: socket.socket, stop_seconds: int = 60) -> None:
    """Answer requests until Ctrl-C or SIGTERM, then finish open requests for at most ``stop_seconds``.

    Args:
        app: of :func:`create_app`.
        opened: of :func:`listen`.
    """
    if not is_local(opened):
        print(
            f'warning: {url_of(opened)} can be reached from other machines, by anybody: there is no authentication.',
            file=sys.stderr,
            flush=True,
        )
    config = uvicorn.Config(
        app,
        log_config=None,  # uvicorn's own closes the handlers of all loggers of the process
        log_level='warning',
        access_log=False,
        server_header=False,
        proxy_headers=False,  # Guard handles them: it knows which proxies to trust
        lifespan='on',
        timeout_graceful_shutdown=stop_seconds,
    )
    with opened, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[opened])
