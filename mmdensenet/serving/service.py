"""A model behind a queue."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mmdensenet.results.decisions import UNCALIBRATED
from mmdensenet.version import __version__

from .batcher import Batcher
from .images import FORMATS, RefusedRequestError
from .metrics import Metrics
from .predictor import Predictor


@dataclass(frozen=True)
class Settings:
    """How a server works.

    Args:
        name: of the model, for people.
        topk: classes of an answer, unless a request says otherwise.
        max_batch: images of one forward pass.
        max_wait: seconds that the first image of a batch waits for others, if there are other requests.
        max_queue: requests in work at a time; one more is refused with 503.
        max_bytes: of an image file.
        threads: that read and prepare images.
        upload_seconds: in which a request must have arrived.
        allowed_hosts: names of this server besides localhost.
        any_address: whether it may be addressed by any IP address.
        root_path: the path below which a proxy shows this server, such as '/densenet'; '' for none.
        proxies: addresses or networks whose X-Forwarded-Host and X-Forwarded-Proto are believed.
    """

    name: str = 'model'
    topk: int = 5
    max_batch: int = 16
    max_wait: float = 0.005
    max_queue: int = 128
    max_bytes: int = 10 << 20
    threads: int = 2
    upload_seconds: float = 30.0
    allowed_hosts: tuple[str, ...] = ()
    any_address: bool = False
    root_path: str = ''
    proxies: tuple[str, ...] = ()


class Service:
    """A model behind a queue. It belongs to one event loop.

    Args:
        model_thread: with one thread, the one that opened the model, by default a new one; it is shut down at the end.
            OpenMP's threads sleep between the parts of a layer as soon as there are more of them than cores, and each
            thread that has computed once keeps its own.
    """

    def __init__(self, predictor: Predictor, settings: Settings, model_thread: Executor | None = None):
        self.predictor, self.settings = predictor, settings
        self.metrics = Metrics()
        self.in_work = 0
        self.stopping = False
        self.readers = ThreadPoolExecutor(settings.threads, thread_name_prefix='prepare')
        self.model_thread = model_thread or ThreadPoolExecutor(1, thread_name_prefix='model')
        batching = dict(executor=self.model_thread, max_batch=settings.max_batch, max_wait=settings.max_wait)
        batching['on_the_way'] = lambda: self.in_work
        self.predictions = Batcher(self._timed, on_batch=self._count(self.metrics.batches), **batching)
        self.activations = Batcher(predictor.activations, on_batch=self._count(self.metrics.cam_batches), **batching)

    @staticmethod
    def _count(counter: Counter[int]) -> Callable[[int], None]:
        def add(size: int) -> None:
            counter[size] += 1

        return add

    def _timed(self, prepared: list) -> list:
        start = time.monotonic()
        results = self.predictor.predict(prepared)
        self.metrics.per_image.append((time.monotonic() - start) / len(prepared))
        return results

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self.model_thread, self.predictor.warm_up)

    async def stop(self) -> None:
        """Answer what has been taken, then end the threads."""
        self.stopping = True
        await self.predictions.close()
        await self.activations.close()
        self.readers.shutdown()
        self.model_thread.shutdown()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue.

        Raises:
            RefusedRequestError: 503 if there is none, with the seconds after which to try again.
        """
        if self.stopping:
            raise RefusedRequestError(503, 'The server is stopping.', {'Retry-After': '30'})
        if self.in_work >= self.settings.max_queue:
            seconds = self.metrics.seconds_until(self.in_work)
            raise RefusedRequestError(
                503, f'{self.in_work} requests wait already: try again in {seconds} s.', {'Retry-After': str(seconds)}
            )
        self.in_work += 1
        try:
            yield
        finally:
            self.in_work -= 1

    async def answer(self, content: bytes, topk: int, cam: int | str | None) -> dict:
        """The best classes of an image file; with the map of the class ``cam``, of the best one for 'top'."""
        loop = asyncio.get_running_loop()
        (width, height), prepared = await loop.run_in_executor(self.readers, self.predictor.prepare, content)
        given = await self.predictions.submit(prepared)
        if not np.isfinite(given).all():
            raise RefusedRequestError(500, "The model's scores are not finite numbers: its weights are damaged.")
        best, said = self.predictor.answer(given, topk)
        answer = dict(width=width, height=height, **said)
        if cam is None:
            return answer
        label = best if cam == 'top' else cam
        if not 0 <= label < len(given):
            raise RefusedRequestError(422, f'cam={label}: the classes are 0 to {len(given) - 1}.')
        activation = await self.activations.submit((prepared, label))
        pictures = await loop.run_in_executor(self.readers, self.predictor.pictures, prepared, activation)
        classes = self.predictor.inferencer.classes
        named = {} if classes is None else {'class': classes[label]}
        return dict(**answer, cam=dict(label=label, **named, **pictures))

    def health(self) -> dict:
        return dict(
            status='stopping' if self.stopping else 'ok',
            model=self.settings.name,
            version=__version__,
            in_work=self.in_work,
            max_queue=self.settings.max_queue,
            **self.metrics.snapshot(),
        )

    def about(self) -> dict:
        """What the page needs to know."""
        return dict(
            name=self.settings.name,
            version=__version__,
            topk=self.settings.topk,
            max_bytes=self.settings.max_bytes,
            max_pixels=self.predictor.max_pixels,
            formats=[*FORMATS, 'WebP', *(['DICOM'] if self.predictor.dicom else [])],
            classes=None if self.predictor.inferencer.classes is None else len(self.predictor.inferencer.classes),
            cam=self.predictor.no_cam is None,
            no_cam=self.predictor.no_cam,
            decisions=[UNCALIBRATED] if self.predictor.decisions is None else self.predictor.decisions.lines(),
        )
