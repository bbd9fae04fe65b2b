"""Arguments that several commands have."""

import argparse
from collections.abc import Mapping

from .config_files import complete_config

#: what other tools have as options -> the key of the config, where a test set is evaluated
TEST_KEYS = {
    '--batch-size': 'test_dataloader.batch_size',
    '--workers': 'test_dataloader.num_workers',
    '--num-workers': 'test_dataloader.num_workers',
    '--seed': 'randomness.seed',
}


def add_config(parser: argparse.ArgumentParser) -> None:
    action = parser.add_argument('config', help="config file, or one of mmdensenet's own as mmdensenet::NAME")
    action.completer = complete_config  # argcomplete's


def add_cfg_options(
    parser: argparse.ArgumentParser, config_keys: Mapping[str, str] | None = None, example: str | None = None
) -> None:
    """Add ``--cfg-options``.

    Args:
        config_keys: options that the parser does not have -> the config's key that the error names instead.
    """
    text = 'override the config' + (f': {example}' if example else '')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help=text)
    parser.config_keys = config_keys or {}


def add_launcher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--debug', action='store_true', help='show the traceback of a mistake')
    parser.add_argument('--verbose', action='store_true', help='show all lines of the log, with those of mmengine')
