"""Fit temperature, operating points, conformal sets and an out-of-distribution threshold on the validation part."""

import argparse

from .shared import add_cfg_options, add_config, add_debug, arguments

NEEDS = 'mmdensenet.apis.decide_checkpoint'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument('checkpoint', help='checkpoint file, which gets the decisions')
    parser.add_argument('--out', metavar='FILE', help='write another checkpoint, and leave this one as it is')
    parser.add_argument(
        '--operating-point',
        metavar='RULE',
        help='youden, f1, sensitivity=X, specificity=X or argmax (youden; of more than two classes argmax)',
    )
    parser.add_argument('--coverage', type=float, default=0.9, metavar='X', help='of the conformal sets (0.9)')
    add_cfg_options(parser, 'val_dataloader', example='val_dataloader.batch_size=8')
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    from mmdensenet.apis.decide_checkpoint import decide_checkpoint

    decisions = decide_checkpoint(**arguments(args))
    print('\n'.join([*decisions.lines(), f'The decisions are in {args.out or args.checkpoint}']))
