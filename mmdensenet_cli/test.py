"""Test (and evaluate) a checkpoint."""

import argparse
import os
from collections.abc import Iterator

from .shared import add_cfg_options, add_config, add_debug, add_launcher, arguments

COMPUTES_LONG = True
#: classes whose metrics are shown
MOST_CLASSES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file or URL, or a file of export')
    parser.add_argument('--work-dir', help='where the log and the metrics go (./work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--out', metavar='FILE', help='write the predictions (.json, .npz, .parquet, .pkl) or the metrics'
    )
    parser.add_argument('--out-item', choices=['metrics', 'pred'], help='what --out writes (pred)')
    parser.add_argument('--amp', action='store_true', help='mixed precision (bfloat16 on a CPU)')
    parser.add_argument('--show-dir', metavar='DIR', help='write a picture of each image with its prediction')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--interval', type=int, default=1, help='draw every INTERVALth image')
    parser.add_argument('--wait-time', type=float, default=2, help='how long each window stays, in seconds')
    parser.add_argument('--no-pin-memory', action='store_true', help='data loaders do not pin memory')
    parser.add_argument(
        '--tta', action='store_true', help="test-time augmentation: the config's tta_pipeline and tta_model, or flips"
    )
    parser.add_argument(
        '--partial', action='store_true', help="accept a checkpoint with only some of the model's tensors"
    )
    add_cfg_options(parser, example='test_dataloader.batch_size=8')
    add_launcher(parser)
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    from mmdensenet.apis import test_model

    metrics = test_model(**arguments(args), report=print)
    if os.environ.get('RANK', '0') == '0':
        for line in shown(metrics):
            print(line)
        if args.out:
            print(f'The {"metrics" if args.out_item == "metrics" else "predictions"} are in {args.out}')
        if args.show_dir:
            print(f'The pictures are in {args.show_dir}')


def shown(metrics: dict) -> Iterator[str]:
    """Yield a line for each metric, and one for each class with its decided metrics, ``decided/NAME/CLASS``."""
    classes: dict[str, list[str]] = {}
    for name, value in metrics.items():
        text = f'{value:.4f}' if isinstance(value, float) else f'{value}'
        kind, _, rest = name.partition('/')
        figure, _, label = rest.partition('/')
        if kind == 'decided' and label:
            classes.setdefault(label, []).append(f'{figure} {text}')
        else:
            yield f'{name}: {text}'
    for label in list(classes)[:MOST_CLASSES]:
        yield f'decided, {label}: {"  ".join(classes[label])}'
    if len(classes) > MOST_CLASSES:
        yield f'decided: {len(classes) - MOST_CLASSES} more classes, which --out metrics.json --out-item metrics has'
