"""An unknown option names what to write instead."""

import functools
import operator

import pytest
from conftest import DIGITS

from mmdensenet.apis.config import load_config
from mmdensenet.cli import parse_cfg_options
from mmdensenet_cli import train
from mmdensenet_cli.main import main
from mmdensenet_cli.shared import TEST_KEYS


@pytest.mark.parametrize(
    ('arguments', 'hints'),
    [
        ('train c.py --max-epochs 3', ['--cfg-options train_cfg.max_epochs=3']),
        ('train --epochs 3 c.py', ['--cfg-options train_cfg.max_epochs=3']),
        ('train c.py --lr=0.1 --amp', ['--cfg-options optim_wrapper.optimizer.lr=0.1']),
        ('train c.py --batch-size 8 --seed 1', ['--cfg-options train_dataloader.batch_size=8 randomness.seed=1']),
        ('train c.py --workers --amp', ['--cfg-options train_dataloader.num_workers=VALUE']),
        ('train c.py --workdir w', ['Did you mean --work-dir instead of --workdir?']),
        (
            'train c.py --lr 1 --no-valdate',
            ['Did you mean --no-validate', '--cfg-options optim_wrapper.optimizer.lr=1'],
        ),
        ('test c.py x.pth --batch-size 8', ['--cfg-options test_dataloader.batch_size=8']),
        ('report c.py x.pth --workers 0', ['--cfg-options test_dataloader.num_workers=0']),
        ('export c.py x.pth --batch-size 8', ['Did you mean --batch instead of --batch-size?']),
        ('visualize cam c.py x.pth a.jpg --method a --layr b', ['Did you mean --layer instead of --layr?']),
        ('train c.py --frobnicate', []),
        ('train c.py d.py', []),
    ],
)
def test_unknown_options(arguments, hints, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    said = capsys.readouterr().err
    message, *lines = said[said.index('error: ') :].splitlines()
    assert 'unrecognized arguments: ' in message
    assert len(lines) == len(hints) and all(hint in line for hint, line in zip(hints, lines)), lines


def test_the_keys_exist():
    """Each is one that a config has, or that is the runner's."""
    cfg = load_config(str(DIGITS))
    for key in {*train.CONFIG_KEYS.values(), *TEST_KEYS.values()} - {'load_from'}:
        *parents, name = key.split('.')
        assert name in functools.reduce(operator.getitem, parents, cfg), key
    changed = load_config(str(DIGITS), parse_cfg_options([f'{key}=3' for key in train.CONFIG_KEYS.values()]))
    assert changed.train_cfg.max_epochs == changed.optim_wrapper.optimizer.lr == changed.randomness.seed == 3
