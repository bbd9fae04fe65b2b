"""Arguments that several commands have."""

import argparse
from collections.abc import Mapping

from .config_files import complete_config

#: options of other tools -> the key of the config; LOADER stands for the data loader that a command uses
CONFIG_KEYS = {
    '--batch-size': 'LOADER.batch_size',
    '--workers': 'LOADER.num_workers',
    '--num-workers': 'LOADER.num_workers',
    '--data-root': 'LOADER.dataset.data_root',
    '--data-path': 'LOADER.dataset.data_root',
    '--ann-file': 'LOADER.dataset.ann_file',
    '--num-classes': 'model.head.num_classes',
    '--drop-rate': 'model.backbone.drop_rate',
    '--dropout': 'model.backbone.drop_rate',
    '--channels-last': 'model.backbone.channels_last',
    '--engine': 'model.backbone.engine',
    '--seed': 'randomness.seed',
    '--deterministic': 'randomness.deterministic',
}
#: options of other tools -> the key of the config, for commands that train
TRAIN_KEYS = {
    **CONFIG_KEYS,
    '--max-epochs': 'train_cfg.max_epochs',
    '--epochs': 'train_cfg.max_epochs',
    '--num-epochs': 'train_cfg.max_epochs',
    '--val-interval': 'train_cfg.val_interval',
    '--lr': 'optim_wrapper.optimizer.lr',
    '--learning-rate': 'optim_wrapper.optimizer.lr',
    '--momentum': 'optim_wrapper.optimizer.momentum',
    '--weight-decay': 'optim_wrapper.optimizer.weight_decay',
    '--optimizer': 'optim_wrapper.optimizer.type',
    '--accumulative-counts': 'optim_wrapper.accumulative_counts',
    '--save-interval': 'default_hooks.checkpoint.interval',
    '--log-interval': 'default_hooks.logger.interval',
    '--load-from': 'load_from',
    '--pretrained': 'load_from',
    '--weights': 'load_from',
}
#: options that neither a command nor the config has -> what to do
INSTEAD = {
    '--device': 'A GPU is used if there is one: CUDA_VISIBLE_DEVICES=1 before the command takes another, "" the CPU.',
    '--gpus': 'Several GPUs: bash tools/dist_train.sh CONFIG GPUS, or torchrun with --launcher pytorch.',
    '--gpu-ids': 'CUDA_VISIBLE_DEVICES=0,1 before the command says which GPUs it sees.',
    '--fp16': 'Mixed precision is --amp.',
    '--bf16': 'Mixed precision is --amp, on a CPU in bfloat16.',
    '--quiet': 'A run is quiet, unless it has --verbose.',
    '--output': 'Did you mean --work-dir or --out?',
    '--output-dir': 'Did you mean --work-dir or --out?',
}

_OF_ALL_COMMANDS = ('debug', 'verbose', 'local_rank')


def add_config(parser: argparse.ArgumentParser) -> None:
    action = parser.add_argument('config', help="config file, or one of mmdensenet's own as mmdensenet::NAME")
    action.completer = complete_config  # argcomplete's


def add_cfg_options(
    parser: argparse.ArgumentParser,
    loader: str = 'test_dataloader',
    keys: Mapping[str, str] = CONFIG_KEYS,
    example: str | None = None,
) -> None:
    """Add ``--cfg-options``.

    Args:
        loader: the data loader that the command uses.
        keys: options that the parser does not have -> the config's key that the error names instead.
    """
    text = 'override the config' + (f': {example}' if example else '')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help=text)
    parser.config_keys = {option: key.replace('LOADER', loader) for option, key in keys.items()}
    parser.instead = INSTEAD


def add_launcher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--debug', action='store_true', help='show the traceback of a mistake')
    parser.add_argument('--verbose', action='store_true', help='show all lines of the log, with those of mmengine')


def arguments(args: argparse.Namespace, *without: str) -> dict:
    """Return a command's arguments under the names that the library's function has: ``--no-NAME`` is ``name``.

    Args:
        without: names that the function does not have; those that all commands have are left out anyway.
    """
    given = {name: value for name, value in vars(args).items() if name not in (*_OF_ALL_COMMANDS, *without)}
    if 'cfg_options' in given:
        from mmdensenet.cli import parse_cfg_options

        given['cfg_options'] = parse_cfg_options(given['cfg_options'])
    negated = [name for name in given if name.startswith('no_')]
    return given | {name.removeprefix('no_'): not given.pop(name) for name in negated}
