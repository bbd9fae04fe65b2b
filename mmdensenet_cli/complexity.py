"""Parameters and multiply-adds of each stage, and the memory of a training step, for both engines side by side."""

import argparse
import json

from .shared import add_cfg_options, add_config, add_debug, arguments

PRINTS_RESULTS = True
NEEDS = 'mmdensenet.apis.complexity'


class OneOrTwo(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        if len(values) > 2:
            parser.error('--size takes one number, or height and width')
        setattr(namespace, self.dest, values)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        metavar='N',
        action=OneOrTwo,
        help='height and width of the images, or one number',
    )
    parser.add_argument('--batch', type=int, metavar='N', help="tell the memory of a step on N images (the config's)")
    parser.add_argument('--memory', metavar='24GB', help='tell the largest batch that fits into this memory')
    parser.add_argument('--no-measure', action='store_true', help='only predict: run no training steps')
    parser.add_argument('--device', help='on which to measure: cpu, cuda, cuda:1; by default the GPU if there is one')
    parser.add_argument('--json', action='store_true', help='print one JSON object, in bytes')
    add_cfg_options(parser, 'train_dataloader')
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    import contextlib
    import sys

    from mmdensenet.apis.complexity import complexity, parse_bytes

    with contextlib.redirect_stdout(sys.stderr):  # logs of libraries must not be in the results
        available = None if args.memory is None else parse_bytes(args.memory)
        found = complexity(**arguments(args, 'memory', 'json'), available=available)
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


def show(found: dict) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from mmdensenet.terminal import short_path

    console = Console()
    if not console.is_terminal:
        console = Console(width=100)  # a pipe has none; 80 would cut numbers
    engines = list(found['memory'])
    shape = 'x'.join(map(str, found['input']))
    title = f'{short_path(found["config"])}: one image of {shape}'
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True)
    table.add_column('stage', 'total', no_wrap=True)
    table.add_column('parameters', f'{found["parameters"]:,}', justify='right')
    for engine in engines:
        table.add_column(f'multiply-adds\n{engine}', f'{found["multiply_adds"][engine]:,}', justify='right')
    for engine in engines:
        kept = sum(stage['kept_bytes'][engine] or 0 for stage in found['stages'])
        table.add_column(f'kept, MiB\n{engine}', mib(kept), justify='right')
    for stage in found['stages']:
        counts = [f'{stage["multiply_adds"][engine]:,}' for engine in engines]
        table.add_row(
            stage['name'],
            f'{stage["parameters"]:,}',
            *counts,
            *(mib(stage['kept_bytes'][engine]) for engine in engines),
        )
    console.print(table)
    console.print(
        'Multiply-adds: of convolutions and matrix products, a 3x3 convolution as nine products whatever computes it; '
        'norms, activations and pooling are not in them.\n'
        'The reference convolves in a transition before it pools (the metafile counts that), the fused engine pools '
        'first.\nKept: for backward, in a training step; a block has its transition\'s share.',
        style='dim',
    )  # fmt: skip
    if found['not_fused']:
        console.print(f'The fused engine has no numbers: {found["not_fused"]}')
    batch = found['batch']
    table = Table(title=f'memory of a training step in float32, on {found["device"]}, MiB', box=box.SIMPLE_HEAD)
    for name in ('engine', '', 'constant', 'for each image', f'batch of {batch}'):
        table.add_column(name, justify='right' if name not in ('engine', '') else 'left')
    if found['available_bytes'] is not None:
        table.add_column(f'largest batch in {found["available_bytes"] / 1e9:g} GB', justify='right')
    for engine in engines:
        for kind, step in found['memory'][engine].items():
            row = [engine, kind, *(mib(step[key]) for key in ('constant_bytes', 'bytes_per_image', 'batch_bytes'))]
            table.add_row(*row, *([] if found['available_bytes'] is None else [f'{step["largest_batch"]:,}']))
    console.print(table)
    console.print(
        'Constant: weights, gradients and the state of the optimiser; measured on a CPU also the process itself. '
        'Measured from steps on two batches; the largest batch leaves some memory free.',
        style='dim',
    )


def mib(count: float | None) -> str:
    return '' if count is None else f'{count / 2**20:,.2f}'
