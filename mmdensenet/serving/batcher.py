"""Batches the items that several callers submit at the same time to one model."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)


class ClosedError(Exception):
    """The batcher takes no more items."""


@dataclass
class _Entry:
    item: object
    answer: asyncio.Future
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Passes the items of concurrent callers to one function, in batches, in the order in which they arrive.

    A batch starts when it is full, when its first item has waited ``max_wait``, or when no other item is on the way.
    Items gather while the function runs, so that under load batches fill and no item waits for the clock. A batcher
    belongs to one event loop.

    Args:
        run: computes a list of items in a thread of ``executor``; returns their results in the same order.
        executor: has one thread, so that one batch is computed at a time; batchers may share it.
        max_batch: the most items in a batch.
        max_wait: how many seconds the first item of a batch waits for others.
        on_batch: called with the size of each batch.
        on_the_way: returns how many items callers have or will soon have; no batch waits for more.
    """

    def __init__(
        self,
        run: Callable[[list], Sequence],
        executor: Executor,
        max_batch: int = 16,
        max_wait: float = 0.005,
        on_batch: Callable[[int], None] = lambda size: None,
        on_the_way: Callable[[], float] = lambda: float('inf'),
    ):
        self.run, self.executor = run, executor
        self.max_batch, self.max_wait = max_batch, max_wait
        self.on_batch, self.on_the_way = on_batch, on_the_way
        self._queue: asyncio.Queue[_Entry | None] = asyncio.Queue()
        self._worker: asyncio.Task | None = None
        self._closed = False

    async def submit(self, item: object) -> object:
        """The result of one item.

        The item of a caller that is cancelled while it waits is not computed.

        Raises:
            ClosedError: after :meth:`close`.
            Exception: the function's exception for this item.
        """
        if self._closed:
            raise ClosedError
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        entry = _Entry(item, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(entry)
        return await entry.answer

    async def close(self) -> None:
        """Take no more items, and return when all the others are answered."""
        self._closed = True
        if self._worker is not None:
            self._queue.put_nowait(None)
            await self._worker
            self._worker = None

    async def _work(self) -> None:
        last = False
        while not last:
            batch, last = await self._collect()
            if batch:
                self.on_batch(len(batch))
                await self._answer(batch)

    async def _collect(self) -> tuple[list[_Entry], bool]:
        """The next batch, and whether it is the last."""
        batch: list[_Entry] = []
        deadline = None
        while len(batch) < self.max_batch:
            try:
                if deadline is None:
                    entry = await self._queue.get()
                elif self._queue.empty():
                    if self.on_the_way() <= len(batch):
                        break
                    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                        entry = await self._queue.get()
                else:
                    entry = self._queue.get_nowait()
            except TimeoutError:
                break
            if entry is None:
                return _wanted(batch), True
            batch = _wanted([*batch, entry])
            deadline = batch[0].since + self.max_wait if batch else None
        return _wanted(batch), False

    async def _answer(self, batch: list[_Entry]) -> None:
        try:
            results = await self._compute([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f'{len(results)} results for a batch of {len(batch)}')
        except Exception as error:
            if len(batch) > 1:  # one bad item must not fail the others
                logger.warning('a batch of %d failed (%s): its items go one by one', len(batch), error)
                for entry in batch:
                    await self._answer([entry])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for entry, result in zip(batch, results):
            if not entry.answer.done():
                entry.answer.set_result(result)

    async def _compute(self, items: list) -> Sequence:
        return await asyncio.get_running_loop().run_in_executor(self.executor, self.run, items)


def _wanted(batch: list[_Entry]) -> list[_Entry]:
    """The entries whose callers are still waiting."""
    return [entry for entry in batch if not entry.answer.done()]
