"""Measure the machine: the rates of a large matrix product and of a large copy.

    python -m benchmarks.machine

They take turns with the candidates in every benchmark, so that a step is compared to the machine as it was then.
"""

import argparse
from functools import partial

from mmdensenet_cli.info import core_count

from .measure import Job, Workload, take_turns
from .report import device_name, quartiles

DTYPES = {'fp32': 'float32', 'bf16': 'bfloat16'}
MATRIX_PRODUCT, COPY = 'matrix product', 'copy'


def jobs(device: str, dtype: str) -> dict[str, Job]:
    """The two jobs; their facts are FLOPs and bytes of a step."""
    return {
        MATRIX_PRODUCT: Job(partial(matrix_product, device, dtype)),
        COPY: Job(partial(copy, device)),
    }


def matrix_product(device: str, dtype: str) -> Workload:
    """A square product, twice n^3 FLOPs, into an existing result."""
    import torch

    n = 8192 if device == 'cuda' else 2048
    options = dict(device=device, dtype=getattr(torch, DTYPES[dtype]))
    a, b, out = torch.randn(n, n, **options), torch.randn(n, n, **options), torch.zeros(n, n, **options)
    return Workload(lambda: torch.mm(a, b, out=out), device=device, facts=dict(flops=2 * n**3))


def copy(device: str) -> Workload:
    """A copy that no cache holds; its bytes are those that are read and those that are written."""
    import torch

    size = 2**30 if device == 'cuda' else 2**28
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return Workload(lambda: target.copy_(source), device=device, facts=dict(bytes=2 * size))


def default_device() -> str:
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.machine', description="Measure the machine's rates of arithmetic and memory."
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--threads', type=int, default=core_count())
    parser.add_argument('--rounds', type=int, default=10)
    args = parser.parse_args()
    device = args.device or default_device()
    todo = {f'{dtype} {MATRIX_PRODUCT}': jobs(device, dtype)[MATRIX_PRODUCT] for dtype in DTYPES}
    measured = take_turns(todo | {COPY: Job(partial(copy, device))}, args.rounds, args.threads, turn_seconds=0.2)
    print(f'{device_name(device)}, {args.threads} threads')
    for name, m in measured.items():
        work, unit = (m.facts['bytes'], 'GB/s') if name == COPY else (m.facts['flops'], 'GFLOP/s')
        low, median, high = (work / seconds / 1e9 for seconds in quartiles(m.seconds))
        print(f'{name:20} {median:10.1f} {unit} (quartiles {high:.1f} to {low:.1f})')


if __name__ == '__main__':
    main()
