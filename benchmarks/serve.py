"""Throughput and latency of tools/serve.py, with batching and without, over real connections.

    python -m benchmarks.serve                     # DenseNet-121, photos of 640x427 pixels
    python -m benchmarks.serve --concurrency 1 100

Two servers, each a process of its own, are up all the time and measured in turns, so that a change in the machine's
speed meets both; one takes up to --batch-size images in a forward pass, the other one image. So many clients as the
concurrency says each send a JPEG, wait for the answer, and send the next. The clients are one more process on the same
machine and take their share of it. The weights are random: they change no time.
"""

import argparse
import asyncio
import io
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from .machine import core_count
from .report import RESULTS, ROOT, append_rows, provenance, quartiles, text_table

CSV = RESULTS / 'serve.csv'


@dataclass
class Server:
    """A running server and what was measured of it, by concurrency."""

    name: str
    process: subprocess.Popen
    url: str
    rates: dict[int, list[float]] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    batches: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


def start(name: str, folder: Path, args: argparse.Namespace, batch_size: int) -> Server:
    command = [sys.executable, str(ROOT / 'tools' / 'serve.py'), str(args.config)]
    command += ['--checkpoint', str(folder / 'weights.pth'), '--port', '0', '--max-queue', '1024']
    command += ['--batch-size', str(batch_size), '--max-wait', str(args.max_wait)]
    env = {**os.environ, 'OMP_NUM_THREADS': str(args.threads), 'MKL_NUM_THREADS': str(args.threads)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    for line in process.stdout:
        if line.startswith('Serving '):
            return Server(name, process, line.split(' at ')[1].split()[0])
    raise SystemExit(f'the server did not start: status {process.wait()}')


def photos(count: int) -> list[bytes]:
    """JPEG files of 640x427 pixels: scikit-learn's two sample photos, shifted, so that no two are the same."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    samples = load_sample_images().images
    contents = []
    for i in range(count):
        target = io.BytesIO()
        Image.fromarray(np.roll(samples[i % 2], 7 * i, axis=1)).save(target, 'JPEG', quality=90)
        contents.append(target.getvalue())
    return contents


async def load(url: str, contents: list[bytes], concurrency: int, requests: int) -> tuple[float, list[float]]:
    """Seconds that all took, and of each.

    Raises:
        SystemExit: if a request is not answered.
    """
    import httpx2

    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    numbers = iter(range(requests))
    seconds = []

    async def client(session) -> None:
        for number in numbers:
            start = time.perf_counter()
            response = await session.post('/predict', content=contents[number % len(contents)])
            seconds.append(time.perf_counter() - start)
            if response.status_code != 200:
                raise SystemExit(f'request {number} was answered with {response.status_code}: {response.text}')

    async with httpx2.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False) as session:
        begin = time.perf_counter()
        await asyncio.gather(*[client(session) for _ in range(concurrency)])
        return time.perf_counter() - begin, seconds


def batches_of(url: str) -> tuple[int, int]:
    """Batches and images so far."""
    import httpx2

    sizes = httpx2.get(f'{url}/health', trust_env=False).json()['batches']
    return sizes['count'], sizes['images']


def measure(servers: list[Server], args: argparse.Namespace) -> None:
    contents = photos(32)
    for server in servers:
        asyncio.run(load(server.url, contents, 4, 8))
    for turn in range(args.rounds):
        for concurrency in args.concurrency:
            requests = max(args.requests, 2 * concurrency)
            for server in servers if turn % 2 == 0 else servers[::-1]:
                before = batches_of(server.url)
                total, seconds = asyncio.run(load(server.url, contents, concurrency, requests))
                after = batches_of(server.url)
                server.rates.setdefault(concurrency, []).append(requests / total)
                server.seconds.setdefault(concurrency, []).extend(seconds)
                server.batches.setdefault(concurrency, []).append((after[0] - before[0], after[1] - before[1]))


def rows_of(servers: list[Server], args: argparse.Namespace) -> list[dict]:
    import numpy as np

    origin = provenance('cpu', args.threads)
    rows = []
    for concurrency in args.concurrency:
        for server in servers:
            low, median, high = quartiles(server.rates[concurrency])
            p50, p95, p99 = np.percentile(server.seconds[concurrency], (50, 95, 99))
            batches, images = map(sum, zip(*server.batches[concurrency]))
            rows.append(
                origin
                | dict(config=Path(args.config).stem, server=server.name, concurrency=concurrency)
                | dict(requests=len(server.seconds[concurrency]), rounds=args.rounds, mean_batch=images / batches)
                | dict(images_per_second_q25=low, images_per_second_median=median, images_per_second_q75=high)
                | dict(latency_p50=p50, latency_p95=p95, latency_p99=p99)
            )
    return rows


def show(rows: list[dict]) -> None:
    header = ('server', 'clients', 'requests', 'mean batch', 'images/s', '(quartiles)', 'p50 ms', 'p95 ms', 'p99 ms')
    lines = [
        [
            row['server'],
            str(row['concurrency']),
            str(row['requests']),
            f'{row["mean_batch"]:.1f}',
            f'{row["images_per_second_median"]:.1f}',
            f'{row["images_per_second_q25"]:.1f}-{row["images_per_second_q75"]:.1f}',
            *(f'{row[key] * 1000:.0f}' for key in ('latency_p50', 'latency_p95', 'latency_p99')),
        ]
        for row in rows
    ]
    print(text_table(header, lines))


def save_random_weights(config: str, file: Path) -> None:
    import torch

    import mmdensenet

    torch.save(dict(state_dict=mmdensenet.get_model(config).state_dict()), file)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.serve', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=str(ROOT / 'configs' / 'densenet121_4xb256_in1k.py'))
    parser.add_argument('--batch-size', type=int, default=16, help='of the server that batches')
    parser.add_argument('--max-wait', type=float, default=5, metavar='MS')
    parser.add_argument('--concurrency', type=int, nargs='+', default=[1, 4, 16, 100], metavar='N')
    parser.add_argument('--requests', type=int, default=32, metavar='N', help='of a round, or two for each client')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=core_count(), help='of the model')
    parser.add_argument('--csv', type=Path, default=CSV)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_random_weights(args.config, folder / 'weights.pth')
        servers: list[Server] = []
        try:
            servers.append(start(f'batches of up to {args.batch_size}', folder, args, args.batch_size))
            servers.append(start('one by one', folder, args, 1))
            measure(servers, args)
        finally:
            for server in servers:
                server.process.terminate()
                server.process.wait()
    rows = rows_of(servers, args)
    show(rows)
    append_rows(rows, args.csv)
    print(f'The rows are in {args.csv}')


if __name__ == '__main__':
    main()
