"""Measure the cost of the check whether a block can be fused, in the evaluation of one image.

    python -m benchmarks.contract                       # with the question, and with its answer
    python -m benchmarks.contract --against CHECKOUT    # this tree's code, and that of another one

Without ``--against`` the model takes turns with itself: as it is, and with the plans of its first pass handed back
unasked. With it, two processes take turns, each with its own tree. Seconds are the processor's, which other programs
disturb least; the ratio is that of the medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: model: its arguments, and the size of the image
MODELS = {
    'densenet121': (dict(arch='121'), 224),
    'densenet-bc-40-12': (dict(arch=dict(growth_rate=12, depths=(6, 6, 6), init_channels=24), stem='cifar'), 32),
}


def evaluation(name: str, passes: int) -> tuple[Callable[[], object], Callable[[], float]]:
    """One pass of a model, and the seconds of a pass in a turn of ``passes``."""
    import torch

    from mmdensenet.models import DenseNet

    torch.set_num_threads(1)
    torch.manual_seed(0)
    arguments, size = MODELS[name]
    model = DenseNet(**arguments).eval()
    x = torch.randn(1, 3, size, size)

    @torch.inference_mode()
    def run() -> None:
        model(x)

    def seconds() -> float:
        start = time.process_time()
        for _ in range(passes):
            run()
        return (time.process_time() - start) / passes

    run()
    return run, seconds


@contextmanager
def answered(run: Callable[[], object]) -> Iterator[None]:
    """Replace the check by the plans of one run, in their order."""
    from mmdensenet import ops
    from mmdensenet.ops import stem

    places = [(ops, 'plan_block'), (ops, 'plan_stage'), (stem, 'plan_stem')]
    asked = {place: getattr(*place) for place in places}
    plans: list = []

    def noting(function: Callable) -> Callable:
        def ask(*args, **kwargs):
            plans.append(function(*args, **kwargs))
            return plans[-1]

        return ask

    def answer(*args, **kwargs):
        plans.append(plans.pop(0))
        return plans[-1]

    try:
        for place, function in asked.items():
            setattr(*place, noting(function))
        run()
        for place in places:
            setattr(*place, answer)
        yield
    finally:
        for place, function in asked.items():
            setattr(*place, function)


def with_itself(name: str, rounds: int, passes: int) -> tuple[list[float], list[float]]:
    """Seconds of a pass as it is and answered, a value for each round."""
    run, seconds = evaluation(name, passes)
    asked, unasked = [], []
    for _ in range(rounds):
        asked.append(seconds())
        with answered(run):
            unasked.append(seconds())
    return asked, unasked


def with_another(name: str, rounds: int, passes: int, other: Path) -> tuple[list[float], list[float]]:
    """Seconds of a pass with this tree's code and with another's, a value for each round."""
    trees = Path(__file__).resolve().parents[1], other
    command = [sys.executable, '-P', __file__, '--turns-of', name, '--passes', str(passes)]
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, 'PYTHONPATH': str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for tree in trees
    ]
    taken: list[list[float]] = [[], []]
    for _ in range(rounds):
        for worker, values in zip(workers, taken):
            worker.stdin.write('\n')
            values.append(float(worker.stdout.readline()))
    for worker in workers:
        worker.communicate()
    return taken[0], taken[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.contract', description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=40, help='turns of each')
    parser.add_argument('--passes', type=int, default=5, help='passes a turn')
    parser.add_argument('--starts', type=int, default=7, help='processes of each tree, with --against')
    parser.add_argument('--against', type=Path, metavar='CHECKOUT', help='the root of another tree, with its kernels')
    parser.add_argument('--turns-of', metavar='MODEL', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turns_of:
        _, seconds = evaluation(args.turns_of, args.passes)
        for _ in sys.stdin:
            print(seconds(), flush=True)
        return
    from .report import quartiles, text_table

    rows = []
    for name in MODELS:
        if args.against:
            turns = [with_another(name, args.rounds, args.passes, args.against) for _ in range(args.starts)]
            # where a process's memory happens to lie makes up to a tenth: the median of each start's median
            ours, others = ([statistics.median(values) for values in side] for side in zip(*turns))
        else:
            ours, others = with_itself(name, args.rounds, args.passes)
        spread = ' / '.join(f'{value * 1e3:.2f}' for value in quartiles(ours))
        ratio = statistics.median(ours) / statistics.median(others)
        rows.append([name, spread, f'{statistics.median(others) * 1e3:.2f}', f'{ratio:.3f}'])
    print(text_table(['model', 'ms, quartiles', 'other tree' if args.against else 'answered', 'ratio'], rows))


if __name__ == '__main__':
    main()
