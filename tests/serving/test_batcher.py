"""Concurrent callers share batches, and each gets its own result."""

import asyncio
import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmdensenet.serving.batcher import Batcher, ClosedError, _Entry


def play(scene, run, **settings):
    """Run the coroutine function ``scene(batcher, sizes)`` with a batcher around ``run``."""
    sizes: list[int] = []

    async def act():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(run, executor, on_batch=sizes.append, **settings)
            try:
                return await asyncio.wait_for(scene(batcher, sizes), 20)
            finally:
                await batcher.close()

    return asyncio.run(act())


def test_each_gets_its_own_result_in_full_batches():
    async def scene(batcher, sizes):
        results = await asyncio.gather(*[batcher.submit(i) for i in range(10)])
        assert results == [i * i for i in range(10)]
        assert sizes == [4, 4, 2]

    play(scene, lambda items: [i * i for i in items], max_batch=4, max_wait=0.2)


def test_one_item_waits_no_longer_than_asked():
    async def scene(batcher, sizes):
        start = time.monotonic()
        assert await batcher.submit(1) == 1
        alone = time.monotonic() - start
        start = time.monotonic()
        await asyncio.gather(*[batcher.submit(i) for i in range(4)])
        return alone, time.monotonic() - start

    alone, full = play(scene, list, max_batch=4, max_wait=0.5)
    assert 0.5 <= alone < 5
    assert full < 0.4, 'a full batch does not wait'


def test_the_first_item_says_how_long_a_batch_waits():
    """Not the newest: items that keep coming would hold back the first for ever."""

    async def scene(batcher, sizes):
        entry = functools.partial(_Entry, answer=asyncio.get_running_loop().create_future())
        for item, since in (('first', time.monotonic() - 100), ('newest', time.monotonic())):
            batcher._queue.put_nowait(entry(item, since=since))
        batch, last = await asyncio.wait_for(batcher._collect(), 10)
        assert [entry.item for entry in batch] == ['first', 'newest'] and not last

    play(scene, list, max_batch=4, max_wait=60)


def test_an_item_waits_for_none_if_none_is_coming():
    async def scene(batcher, sizes):
        start = time.monotonic()
        assert await batcher.submit(1) == 1
        return time.monotonic() - start

    assert play(scene, list, max_batch=4, max_wait=30, on_the_way=lambda: 1) < 5


def test_items_gather_while_the_function_runs():
    release = threading.Event()

    def run(items):
        release.wait(10)
        return items

    async def scene(batcher, sizes):
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(batcher.submit(i)) for i in range(1, 8)]
        await asyncio.sleep(0.05)
        assert sizes == [1]
        release.set()
        assert await asyncio.gather(first, *others) == list(range(8))
        assert sizes == [1, 7]

    play(scene, run, max_batch=8, max_wait=0)


def test_who_has_gone_is_not_computed():
    release, seen = threading.Event(), []

    def run(items):
        release.wait(10)
        seen.extend(items)
        return items

    async def scene(batcher, sizes):
        first = asyncio.create_task(batcher.submit('first'))
        await asyncio.sleep(0.05)
        gone, stays = asyncio.create_task(batcher.submit('gone')), asyncio.create_task(batcher.submit('stays'))
        await asyncio.sleep(0)
        gone.cancel()
        release.set()
        assert await first == 'first' and await stays == 'stays'
        assert gone.cancelled() and seen == ['first', 'stays'] and sizes == [1, 1]

    play(scene, run)


def test_a_bad_item_does_not_spoil_the_others():
    def run(items):
        if 'bad' in items:
            raise ValueError('bad item')
        return items

    async def scene(batcher, sizes):
        results = await asyncio.gather(*[batcher.submit(i) for i in ('a', 'bad', 'b')], return_exceptions=True)
        assert results[0] == 'a' and results[2] == 'b'
        assert isinstance(results[1], ValueError)
        assert await batcher.submit('c') == 'c', 'it goes on'

    play(scene, run)


def test_too_few_results_are_an_error():
    async def scene(batcher, sizes):
        with pytest.raises(RuntimeError, match='0 results for a batch of 1'):
            await batcher.submit(1)

    play(scene, lambda items: [])


def test_closing_answers_what_was_taken():
    def run(items):
        time.sleep(0.02)
        return items

    async def scene(batcher, sizes):
        tasks = [asyncio.create_task(batcher.submit(i)) for i in range(20)]
        await asyncio.sleep(0)
        await batcher.close()
        assert await asyncio.gather(*tasks) == list(range(20))
        with pytest.raises(ClosedError):
            await batcher.submit(1)

    play(scene, run, max_batch=3)
