"""Arguments that several commands have."""

import functools
import inspect
import operator

from conftest import DIGITS
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmdensenet.apis.config import load_config
from mmdensenet.cli import parse_cfg_options
from mmdensenet.models import DenseNet
from mmdensenet_cli import train
from mmdensenet_cli.shared import CONFIG_KEYS, INSTEAD, TRAIN_KEYS, arguments
from mmdensenet_cli.start import make_parser


def test_the_keys_exist():
    """Each is one that a config has, or that is the runner's or the backbone's."""
    cfg = load_config('mmdensenet::densenet121_4xb256_in1k')
    may_be_missing = {'load_from', 'randomness.deterministic', 'optim_wrapper.accumulative_counts'}
    may_be_missing |= {f'model.backbone.{name}' for name in ('drop_rate', 'channels_last', 'engine')}
    keys = {key.replace('LOADER', 'train_dataloader') for key in {**CONFIG_KEYS, **TRAIN_KEYS}.values()}
    for key in keys - may_be_missing - {'train_dataloader.dataset.ann_file'}:
        *parents, name = key.split('.')
        assert name in functools.reduce(operator.getitem, parents, cfg), key
    assert {key.rpartition('.')[2] for key in may_be_missing} <= {
        *inspect.signature(Runner.__init__).parameters,
        *inspect.signature(Runner.set_randomness).parameters,
        *inspect.signature(OptimWrapper.__init__).parameters,
        *inspect.signature(DenseNet.__init__).parameters,
    }
    assert not set(INSTEAD) & set(TRAIN_KEYS)
    changed = load_config(
        str(DIGITS), parse_cfg_options([f'{TRAIN_KEYS[key]}=3' for key in ('--epochs', '--lr', '--seed')])
    )
    assert changed.train_cfg.max_epochs == changed.optim_wrapper.optimizer.lr == changed.randomness.seed == 3


def test_arguments_have_the_names_of_the_library():
    args = make_parser(train).parse_args(['c.py', '--no-validate', '--cfg-options', 'train_cfg.max_epochs=3'])
    given = arguments(args, 'resume')
    assert given['validate'] is False and given['pin_memory'] is True
    assert given['cfg_options'] == {'train_cfg.max_epochs': 3}
    assert not {'debug', 'verbose', 'local_rank', 'resume', 'no_validate'} & set(given)
