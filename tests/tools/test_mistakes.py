"""A mistake in a training or a test gives one or two lines that name it, status 2, and no traceback."""

import fractions

import pytest
import torch
from conftest import CONFIGS, DIGITS


def check_mistake(done, *messages):
    assert done.status == 2, done.out + done.err
    lines = [line for line in done.err.splitlines() if line.strip()]
    start = next(i for i, line in enumerate(lines) if line.startswith('error: '))
    assert len(lines) - start <= 2, lines
    assert 'Traceback' not in done.err
    for message in messages:
        assert message in done.err, done.err


def test_missing_config(run_tool):
    check_mistake(run_tool('train.py', 'configs/nope.py'), 'config configs/nope.py does not exist')


def test_missing_data(run_tool, tmp_path):
    config = CONFIGS / 'densenet121_4xb256_in1k.py'
    options = ['--work-dir', tmp_path, '--cfg-options', 'train_dataloader.dataset.data_root=/no/imagenet']
    check_mistake(run_tool('train.py', config, *options), 'train_dataloader.dataset.data_root: /no/imagenet')


def test_missing_checkpoint(run_tool, tmp_path):
    done = run_tool('test.py', DIGITS, 'gone.pth', '--work-dir', tmp_path)
    check_mistake(done, 'checkpoint gone.pth does not exist')
    done = run_tool('train.py', DIGITS, '--resume', 'gone.pth', '--work-dir', tmp_path)
    check_mistake(done, 'checkpoint gone.pth does not exist')


def test_label_outside_the_classes(run_tool, folder_config, tmp_path):
    done = run_tool('train.py', folder_config(head=2), '--work-dir', tmp_path / 'w')
    check_mistake(done, 'class_2/0.jpg', 'label 2', '2 classes', 'model.head.num_classes')


def test_label_outside_the_classes_in_the_test_set(run_tool, folder_config, tmp_path, digits_checkpoint):
    config = folder_config(head=2)
    done = run_tool('test.py', config, digits_checkpoint, '--partial', '--work-dir', tmp_path / 'w')
    check_mistake(done, 'class_2/0.jpg', 'test_dataloader')


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('trian_cfg.max_epochs=1', "no 'trian_cfg'"),
        ('model.backbone.drop_rat=0.1', "DenseNet has no key 'drop_rat'. Did you mean 'drop_rate'?"),
        ('model.backbone.type=mmdensenet.DensNet', "Did you mean 'mmdensenet.DenseNet'?"),
        ('train_dataloader.dataset.splitt=train', "no key 'splitt'. Did you mean 'split'?"),
        ('optim_wrapper.optimizer.type=SDG', "type='SDG'"),
        ('model.backbone.arch=999', "arch='999': choose one of"),
        ('model.backbone.drop_rate=2', 'drop_rate=2'),
        ('train_cfg.max_epochs=abc', "train_cfg: invalid literal for int() with base 10: 'abc'"),
        ('train_cfg.max_epoch=3', "'max_epoch'"),
        ('train_dataloader.batch_size=0', 'batch_size=0'),
        ('train_dataloader.batch_sze=3', "'batch_sze'"),
        ('model.head.in_channels=15', 'set model.head.in_channels=69'),
        ('default_hooks.lgger.interval=1', "'interval': 1"),
        ('default_hooks.checkpoint.intervall=1', "no key 'intervall'"),
        ('randomness.sed=1', "'sed'"),
        ('log_level=INF', 'inf'),
    ],
)
def test_unknown_key(run_tool, tmp_path, option, message):
    check_mistake(run_tool('train.py', DIGITS, '--work-dir', tmp_path, '--cfg-options', option), message)


def test_wrong_output(run_tool, tmp_path, digits_checkpoint):
    done = run_tool('test.py', DIGITS, digits_checkpoint, '--work-dir', tmp_path, '--out', 'x.txt')
    check_mistake(done, '--out x.txt', '.json')
    done = run_tool('test.py', DIGITS, digits_checkpoint, '--work-dir', tmp_path, '--out-item', 'pred')
    check_mistake(done, '--out FILE')


def test_checkpoint_of_another_architecture(run_tool, tmp_path, digits_checkpoint, short_config):
    done = run_tool('test.py', short_config(), digits_checkpoint, '--work-dir', tmp_path / 't')
    check_mistake(done, 'tensors of this model', 'backbone.stem.0.weight', 'another architecture')


def test_checkpoint_with_other_classes(run_tool, check_tool, tmp_path, digits_checkpoint):
    options = ['--work-dir', tmp_path, '--cfg-options', 'model.head.num_classes=11']
    done = run_tool('test.py', DIGITS, digits_checkpoint, *options)
    check_mistake(done, 'head.fc.weight is (10, 69), not (11, 69)', 'model.head.num_classes=10')
    check_tool('test.py', DIGITS, digits_checkpoint, '--partial', *options)


def test_hostile_checkpoint(run_tool, tmp_path):
    torch.save(dict(state_dict=fractions.Fraction(1, 2)), tmp_path / 'hostile.pth')
    done = run_tool('test.py', DIGITS, tmp_path / 'hostile.pth', '--work-dir', tmp_path)
    check_mistake(done, 'hostile.pth holds Python objects (fractions.Fraction)')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['mmdett::x/y.py'], 'package mmdett is not installed. Did you mean mmdensenet'),
        (['nosuch::x'], 'package nosuch is not installed'),
        (['configs'], 'configs is a folder'),
        ([DIGITS, '--launcher', 'pytorch'], 'tools/dist_train.sh'),
        ([DIGITS, '--work-dir', '/dev/null/x'], '/dev/null'),
    ],
)
def test_other_arguments(run_tool, arguments, message):
    check_mistake(run_tool('train.py', *arguments), message)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = b\n', 'bad.py cannot be read: NameError'),
        ("raise ValueError('x')\n", 'bad.py cannot be read: ValueError: x'),
        ("custom_imports = dict(imports=['nosuchmodule_'])\n", 'nosuchmodule_'),
        ('a = 1\n', 'bad.py has no model'),
    ],
)
def test_config_that_fails(run_tool, tmp_path, text, message):
    (tmp_path / 'bad.py').write_text(text)
    check_mistake(run_tool('train.py', tmp_path / 'bad.py'), message)


def test_interval_of_zero(run_tool, tmp_path, digits_checkpoint):
    check_mistake(
        run_tool('test.py', DIGITS, digits_checkpoint, '--work-dir', tmp_path, '--interval', '0'), '--interval 0'
    )


def test_debug_shows_the_traceback(run_tool):
    with pytest.raises(Exception, match=r'nope\.py does not exist'):
        run_tool('train.py', 'nope.py', '--debug')
