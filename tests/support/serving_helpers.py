"""Pictures, and a server in a thread of this process."""

import io
import threading
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image

from mmdensenet.serving import Settings, create_app, listen
from mmdensenet.serving.server import url_of


def picture(seed: int = 0, size: tuple[int, int] = (90, 80), kind: str = 'JPEG') -> bytes:
    """An image file with large patches of colour."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(target, kind)
    return target.getvalue()


def wait_until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@contextmanager
def running(predictor, **settings):
    """The URL of a server in its own thread, and the application."""
    import uvicorn

    opened = listen('127.0.0.1', 0)
    app = create_app(predictor, Settings(**settings))
    config = uvicorn.Config(app, log_config=None, log_level='warning', lifespan='on', server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs=dict(sockets=[opened]))
    url = url_of(opened)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 60)
        assert server.started
        yield url, app
    finally:
        server.should_exit = True
        thread.join(60)
        opened.close()
