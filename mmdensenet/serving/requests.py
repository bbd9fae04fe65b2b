"""Reads requests within limits, and notices that a client disconnects."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

from fastapi import Request
from starlette.requests import ClientDisconnect

from .images import RefusedRequestError
from .service import Settings


async def read_body(request: Request, settings: Settings) -> bytes:
    """The request's content, read no further than the limit."""
    if request.headers.get('content-type', '').startswith('multipart/'):
        raise RefusedRequestError(415, 'Send the image file itself as the body: curl --data-binary @FILE')
    too_large = RefusedRequestError(413, f'The file is larger than {settings.max_bytes:,} bytes.')
    length = request.headers.get('content-length', '')
    if length.isdecimal() and int(length) > settings.max_bytes:
        raise too_large
    content, more = bytearray(), True
    try:
        async with asyncio.timeout(settings.upload_seconds):
            while more:
                chunk, more = await _next(request)
                content += chunk
                if len(content) > settings.max_bytes:
                    raise too_large
    except TimeoutError:
        request.state.ended = True  # do not wait for the rest
        raise RefusedRequestError(408, f'The image did not arrive within {settings.upload_seconds:g} s.') from None
    return bytes(content)


async def discard_body(request: Request, settings: Settings) -> None:
    """Read the rest of a refused request: a client that is still sending when the connection closes sees no answer."""
    read = 0
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(5):
            while read <= 4 * settings.max_bytes and not getattr(request.state, 'ended', False):
                read += len((await _next(request))[0])


async def _next(request: Request) -> tuple[bytes, bool]:
    """The next piece of the body, and whether there are more."""
    message = await request.receive()
    if message['type'] == 'http.disconnect':
        raise ClientDisconnect
    more = message.get('more_body', False)
    request.state.ended = not more
    return message.get('body', b''), more


async def while_connected(request: Request, work: Coroutine) -> dict:
    """The result of ``work``, which is cancelled if the client disconnects.

    Raises:
        ClientDisconnect: if it does.
    """

    async def gone() -> None:
        while (await request.receive())['type'] != 'http.disconnect':
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()
