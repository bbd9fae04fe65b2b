"""Train a model from a config."""

import argparse
import os

from .shared import TRAIN_KEYS, add_cfg_options, add_config, add_debug, add_launcher, arguments

COMPUTES_LONG = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument('--work-dir', help='where checkpoints, logs and curves go (./work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a path, from the latest in the work directory if there is one',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (bfloat16 on a CPU)')
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--partial', action='store_true', help="accept a load_from that has only some of the backbone's tensors"
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help="scale the learning rate by the real batch over the config's"
    )
    parser.add_argument('--tensorboard', action='store_true', help="also write TensorBoard's event files")
    parser.add_argument('--no-pin-memory', action='store_true', help='data loaders do not pin memory')
    parser.add_argument('--no-persistent-workers', action='store_true', help='data loaders restart their workers')
    add_cfg_options(parser, 'train_dataloader', TRAIN_KEYS, example='train_cfg.max_epochs=3 key="[a,b]"')
    add_launcher(parser)
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    from mmdensenet.apis import train_model
    from mmdensenet.terminal import short_path

    runner = train_model(**arguments(args))
    if runner.rank == 0:
        print(f'Checkpoints, logs and curves are in {short_path(runner.work_dir)}')
