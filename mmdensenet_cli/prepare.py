"""Copy a config's data sets into tar shards for training, with smaller images or byte for byte."""

import argparse

from .shared import add_cfg_options, add_config, add_debug, arguments

NEEDS = 'mmdensenet.apis.prepare'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument('target', help='folder for the shards; the same command again goes on in it')
    choices = ['train', 'val', 'test']
    parser.add_argument('--splits', nargs='+', choices=choices, help='parts to copy (train and val)')
    parser.add_argument(
        '--short-side',
        type=int,
        default=256,
        metavar='N',
        help='make larger training images smaller, to N pixels on the shorter side (256)',
    )
    parser.add_argument('--quality', type=int, default=95, metavar='N', help='of the smaller ones, as JPEG (95)')
    parser.add_argument('--raw', action='store_true', help='copy training images byte for byte, as others always are')
    parser.add_argument('--shard-size', type=int, default=4096, metavar='N', help='images in a shard (4096)')
    parser.add_argument('--workers', type=int, help='processes that read (one per core)')
    add_cfg_options(parser, 'train_dataloader')
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    from mmdensenet.apis.prepare import prepare_dataset
    from mmdensenet.terminal import counting

    with counting('copying') as progress:
        parts = prepare_dataset(**arguments(args), progress=progress)
    for part in parts:
        there = f', {part.kept} of them there before' if part.kept else ''
        print(f'{part.split}: {len(part.samples)} images in {part.shards} shards{there}, {part.size / 1e6:.1f} MB')
    print(f"In a config: type='mmdensenet.ShardDataset', data_root={args.target!r}, split={parts[0].split!r}")
    for part in parts:
        if part.repeated_by:
            print(f'{part.split}: keep {" and ".join(part.repeated_by)} round it; each image is copied once.')
