"""Time and memory of one dense block against its depth: rows to a CSV file, and the picture of docs/.

    python -m benchmarks.depth              # measure, write, draw
    python -m benchmarks.depth --draw-only  # draw the rows of the last run again

Each block and depth is a job in a process of its own: one forward and one backward pass with the gradient of the input.
A block that concatenates keeps all earlier features once more in each layer, so its memory grows with the square of the
depth; a block that does not keeps one buffer and each layer's bottleneck.
"""

import argparse
import csv
from functools import partial
from pathlib import Path

from .machine import core_count, default_device
from .measure import Job, Workload, take_turns
from .report import RESULTS, ROOT, append_rows, provenance, text_table, timing

CSV = RESULTS / 'depth.csv'
PICTURE = ROOT / 'docs' / '_static' / 'block_depth.svg'

#: label: (arguments of the block, colour, marker)
BLOCKS = {
    'reference': (dict(engine='reference'), '#e0803a', 'o'),
    'reference, memory_efficient': (dict(engine='reference', memory_efficient=True), '#9a7fd1', '^'),
    'fused': (dict(engine='fused'), '#3a94d6', 's'),
}
#: readable on white and on black
GREY = '#787e88'


def prepare(arguments: dict, layers: int, args: argparse.Namespace, device: str) -> Workload:
    """Forward and backward of a block, with a fixed gradient of its output."""
    import torch

    from mmdensenet.models import DenseBlock

    block = DenseBlock(layers, args.channels, 4, args.growth_rate, **arguments)
    block = block.to(device, memory_format=torch.channels_last).train()
    shape = args.batch, args.channels, args.size, args.size
    x = torch.randn(shape, device=device).to(memory_format=torch.channels_last).requires_grad_()
    out_shape = args.batch, args.channels + layers * args.growth_rate, args.size, args.size
    grad = torch.randn(out_shape, device=device).to(memory_format=torch.channels_last)

    def step() -> None:
        block(x).backward(grad)

    def drop_gradients() -> None:
        block.zero_grad()
        x.grad = None

    def rehearse() -> None:
        few = x.detach()[:1, :, :4, :4].requires_grad_()
        block(few).sum().backward()

    return Workload(step, drop_gradients, rehearse, device)


def measure(args: argparse.Namespace, device: str) -> list[dict]:
    """Rows: all blocks of one depth take turns, then those of the next."""
    origin = provenance(device, args.threads)
    sizes = dict(growth_rate=args.growth_rate, channels=args.channels, size=args.size, batch=args.batch)
    rows = []
    for layers in args.layers:
        jobs = {name: Job(partial(prepare, block[0], layers, args, device)) for name, block in BLOCKS.items()}
        for name, m in take_turns(jobs, args.rounds, args.threads, args.turn_seconds).items():
            row = origin | sizes | dict(block=name, layers=layers) | timing(m.seconds)
            rows.append(row | dict(baseline_mib=m.baseline_mib, peak_mib=m.peak_mib))
            milliseconds = row['seconds_median'] * 1e3
            print(f'{layers:3} layers  {name:28} {milliseconds:8.1f} ms  {m.peak_mib or 0:8.1f} MiB', flush=True)
    return rows


def show(rows: list[dict]) -> None:
    """A table: a line for each depth, time and memory of each block."""
    names = list(dict.fromkeys(row['block'] for row in rows))
    lines = []
    for layers in dict.fromkeys(row['layers'] for row in rows):
        cells = {row['block']: row for row in rows if row['layers'] == layers}
        times = [f'{float(cells[n]["seconds_median"]) * 1e3:.1f}' if n in cells else '' for n in names]
        memory = [f'{float(cells[n]["peak_mib"] or 0):.0f}' if n in cells else '' for n in names]
        lines.append([str(layers), *times, *memory])
    print(text_table(('layers', *(f'{n}, ms' for n in names), *(f'{n}, MiB' for n in names)), lines))


def read_last_run(file: Path) -> list[dict]:
    """The rows of the file's last run: those with its last date and device."""
    if not file.exists():
        raise SystemExit(f'{file} is not there: measure first')
    with file.open(newline='') as lines:
        rows = list(csv.DictReader(lines))
    return [row for row in rows if (row['date'], row['device']) == (rows[-1]['date'], rows[-1]['device'])]


def draw(rows: list[dict], file: Path) -> None:
    """Memory and time against depth. The background is transparent, for light and dark pages."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    plt.rcParams.update({'svg.hashsalt': 'mmdensenet', 'font.size': 11, 'axes.edgecolor': GREY, 'text.color': GREY})
    plt.rcParams.update({'axes.labelcolor': GREY, 'xtick.color': GREY, 'ytick.color': GREY})
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.9), layout='constrained')
    for axis, title in zip(axes, ('peak memory above baseline, MiB', 'time of forward and backward, ms')):
        axis.set_title(title, fontsize=11)
        axis.set_xlabel('layers of the block')
        axis.grid(color=GREY, alpha=0.25, linewidth=0.8)
        axis.spines[['top', 'right']].set_visible(False)
    for name, (_, colour, marker) in BLOCKS.items():
        own = sorted((row for row in rows if row['block'] == name), key=lambda row: int(row['layers']))
        layers = [int(row['layers']) for row in own]
        style = dict(color=colour, marker=marker, markersize=5, linewidth=2)
        # a float or, from a file, its text; None or '' is not known
        known = [(n, float(row['peak_mib'])) for n, row in zip(layers, own) if row['peak_mib']]
        axes[0].plot(*zip(*known) if known else ([], []), label=name, **style)
        low, median, high = ([float(row[f'seconds_{q}']) * 1e3 for row in own] for q in ('q25', 'median', 'q75'))
        axes[1].plot(layers, median, **style)
        axes[1].fill_between(layers, low, high, color=colour, alpha=0.25, linewidth=0)
    for axis in axes:
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
    axes[0].legend(frameon=False, labelcolor=GREY)
    first = rows[0]
    figure.supxlabel(
        f'k = {first["growth_rate"]}, {first["channels"]} input channels, {first["size"]}x{first["size"]} pixels, '
        f'batch {first["batch"]}, float32, {first["device"]}, torch {first["torch"]}',
        fontsize=9,
        color=GREY,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    metadata = {'Date': None} if file.suffix == '.svg' else None  # the same rows give the same file
    figure.savefig(file, transparent=True, metadata=metadata)
    plt.close(figure)
    print(f'drawn: {file}')


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.depth', description='Time and memory of one dense block against its depth.'
    )
    add = parser.add_argument
    add('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    add('--layers', type=int, nargs='+', default=[4, 8, 16, 24, 32, 48], help='depths')
    add('--growth-rate', type=int, default=32)
    add('--channels', type=int, default=64, help="of the block's input")
    add('--size', type=int, default=28, help='height and width of the feature maps')
    add('--batch', type=int, default=8)
    add('--rounds', type=int, default=7, help='turns of each block')
    add('--turn-seconds', type=float, default=0.3, help='a turn has as many steps as fit, at least one')
    add('--threads', type=int, default=core_count())
    add('--csv', type=Path, default=CSV)
    add('--picture', type=Path, default=PICTURE)
    add('--draw-only', action='store_true', help='draw the last run in the CSV file')
    args = parser.parse_args()
    if args.draw_only:
        rows = read_last_run(args.csv)
    else:
        rows = measure(args, args.device or default_device())
        append_rows(rows, args.csv)
        print(f'rows added to {args.csv}')
    show(rows)
    draw(rows, args.picture)


if __name__ == '__main__':
    main()
