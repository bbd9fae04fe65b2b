"""Counters and latencies of a running server."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Metrics:
    """Counts since the start, and the times of the last requests. Used by one thread, that of the event loop."""

    started: float = field(default_factory=time.monotonic)
    responses: Counter[int] = field(default_factory=Counter)
    #: requests whose client did not wait for the answer
    abandoned: int = 0
    batches: Counter[int] = field(default_factory=Counter)
    cam_batches: Counter[int] = field(default_factory=Counter)
    #: seconds from the first byte to the answer, of the last thousand predictions
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    #: seconds of computing for each image, of the last hundred batches
    per_image: deque[float] = field(default_factory=lambda: deque(maxlen=100))

    def snapshot(self) -> dict:
        """All of it as plain data."""
        return dict(
            uptime_seconds=round(time.monotonic() - self.started, 3),
            requests=sum(self.responses.values()) + self.abandoned,
            responses={str(status): count for status, count in sorted(self.responses.items())},
            errors=sum(count for status, count in self.responses.items() if status >= 400),
            abandoned=self.abandoned,
            batches=_sizes(self.batches),
            cam_batches=_sizes(self.cam_batches),
            latency_ms=self.percentiles(),
        )

    def percentiles(self) -> dict[str, float | None]:
        if not self.seconds:
            return dict(p50=None, p95=None, p99=None)
        values = np.percentile(np.array(self.seconds) * 1000, (50, 95, 99)).round(3)
        return dict(zip(('p50', 'p95', 'p99'), values.tolist()))

    def seconds_until(self, images: int) -> int:
        """In how many whole seconds, from 1 to 30, that many images will be done; for Retry-After."""
        each = float(np.median(self.per_image)) if self.per_image else 0.1
        return int(min(30, max(1, np.ceil(images * each))))


def _sizes(batches: Counter[int]) -> dict:
    count = sum(batches.values())
    images = sum(size * times for size, times in batches.items())
    return dict(
        count=count,
        images=images,
        mean=round(images / count, 3) if count else None,
        sizes={str(size): times for size, times in sorted(batches.items())},
    )
