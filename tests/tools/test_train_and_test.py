"""tools/train.py and tools/test.py from end to end, on small data."""

import json
import pickle
import re
import sys
import time

import numpy as np
import pytest
import torch
from conftest import CONFIGS, DIGITS, TOOLS, write_images
from helpers import assert_same
from PIL import Image

from mmdensenet.models import DenseNet


def weights(file):
    return torch.load(file, weights_only=True)['state_dict']


def test_help_answers_within_two_seconds(run_command):
    for tool in ('train.py', 'test.py'):
        run_command(sys.executable, TOOLS / tool, '--help')
        start = time.perf_counter()
        done = run_command(sys.executable, TOOLS / tool, '--help')
        assert time.perf_counter() - start < 2
        assert done.status == 0 and '--cfg-options' in done.out


def test_train_resume_and_test(run_tool, short_config, tmp_path):
    config, work_dir = short_config(), tmp_path / 'work'
    done = run_tool('train.py', config, '--work-dir', work_dir)
    assert done.status == 0, done.err
    assert 'warning' not in (done.out + done.err).lower(), done.out + done.err
    assert (work_dir / 'epoch_2.pth').is_file() and (work_dir / 'training_curves.png').is_file()
    log = next(work_dir.glob('*/*.log')).read_text()
    assert re.search(r'Epoch\(train\) \[2\]\[3/3\].*eta: 0:00:00', log), 'the log has the time left'
    assert 'Epoch(val) [2]' in log

    done = run_tool('train.py', config, '--work-dir', work_dir, '--resume', '--cfg-options', 'train_cfg.max_epochs=3')
    assert done.status == 0, done.err
    assert 'resumed epoch: 2, iter: 6' in done.out
    assert 'warning' not in (done.out + done.err).lower(), done.out + done.err
    saved = torch.load(work_dir / 'epoch_3.pth', weights_only=True)
    assert saved['meta']['epoch'] == 3 and saved['meta']['iter'] == 9

    done = run_tool(
        'test.py', config, work_dir / 'epoch_3.pth', '--work-dir', tmp_path / 't',
        '--out', tmp_path / 'm.json', '--out-item', 'metrics',
    )  # fmt: skip
    assert done.status == 0, done.err
    assert 'warning' not in (done.out + done.err).lower(), done.out + done.err
    accuracy = json.loads((tmp_path / 'm.json').read_text())['accuracy/top1']
    assert f'accuracy/top1: {accuracy:.4f}' in done.out
    assert accuracy == pytest.approx(
        float(re.findall(r'Epoch\(val\) \[3\].*top1: ([\d.]+)', log_of(work_dir))[-1]), abs=1e-3
    )


def log_of(work_dir):
    return '\n'.join(file.read_text() for file in sorted(work_dir.glob('*/*.log')))


def test_resuming_continues_where_it_stopped(run_tool, short_config, tmp_path):
    """Going on from the first epoch's checkpoint gives the second epoch's, bit for bit, over a step of the schedule."""
    config = short_config(
        "train_dataloader = dict(batch_size=8, dataset=dict(indices=24, pipeline=[dict(type='PackInputs')]))"
    )
    assert run_tool('train.py', config, '--work-dir', tmp_path / 'a').status == 0
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'b', '--resume', tmp_path / 'a/epoch_1.pth')
    assert done.status == 0, done.err
    assert not (tmp_path / 'b/epoch_1.pth').exists()
    straight, resumed = weights(tmp_path / 'a/epoch_2.pth'), weights(tmp_path / 'b/epoch_2.pth')
    for key, value in straight.items():
        assert torch.equal(resumed[key], value), key


def test_resume_without_a_checkpoint_keeps_load_from(run_tool, short_config, tmp_path):
    """As in a fine-tuning job with MAX_RESTARTS, before its first checkpoint."""
    config = short_config()
    assert run_tool('train.py', config, '--work-dir', tmp_path / 'a').status == 0
    options = [f'load_from={tmp_path / "a/epoch_2.pth"}', 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.0']
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'b', '--resume', '--cfg-options', *options)
    assert done.status == 0, done.err
    before, after = weights(tmp_path / 'a/epoch_2.pth'), weights(tmp_path / 'b/epoch_1.pth')
    assert torch.equal(before['head.fc.weight'], after['head.fc.weight'])


def test_a_restarted_job_goes_on_where_it_was_killed(run_tool, short_config, tmp_path, monkeypatch):
    """Not at the checkpoint that its command names."""
    config = short_config()
    assert run_tool('train.py', config, '--work-dir', tmp_path / 'a').status == 0
    command = ('train.py', config, '--work-dir', tmp_path / 'a', '--resume', tmp_path / 'a/epoch_1.pth')
    assert 'resumed epoch: 1, iter: 3' in run_tool(*command).out, 'a new job does as it is told'
    monkeypatch.setenv('MMDENSENET_LAUNCH_TIME', '0')
    assert 'resumed epoch: 2, iter: 6' in run_tool(*command, '--cfg-options', 'train_cfg.max_epochs=3').out


def test_weights_without_batch_counters(run_tool, short_config, tmp_path):
    """torch loads files from before num_batches_tracked strictly, so they are tested too."""
    config = short_config()
    assert (
        run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_epochs=1').status
        == 0
    )
    state = {k: v for k, v in weights(tmp_path / 'w/epoch_1.pth').items() if not k.endswith('num_batches_tracked')}
    torch.save(dict(state_dict=state), tmp_path / 'old.pth')
    done = run_tool('test.py', config, tmp_path / 'old.pth', '--work-dir', tmp_path / 't')
    assert done.status == 0, done.err


def test_switches(run_tool, short_config, tmp_path, monkeypatch):
    options = ['train_cfg.max_epochs=1', 'model.backbone.channels_last=True', 'model.backbone.memory_efficient=True']
    done = run_tool(
        'train.py', short_config(), '--work-dir', tmp_path / 'w', '--amp', '--no-validate', '--tensorboard',
        '--auto-scale-lr', '--no-persistent-workers', '--no-pin-memory', '--cfg-options', *options,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert 'Epoch(val)' not in log_of(tmp_path / 'w')
    assert list((tmp_path / 'w').glob('*/vis_data/events.out.tfevents.*'))
    assert 'LR is set based on batch size of 32 and the current batch size is 8' in done.out
    forward, seen = DenseNet.forward, []

    def spy(self, images):
        seen.append(torch.is_autocast_enabled('cpu'))
        return forward(self, images)

    monkeypatch.setattr(DenseNet, 'forward', spy)
    for amp in ([], ['--amp']):
        done = run_tool('test.py', short_config(), tmp_path / 'w/epoch_1.pth', '--work-dir', tmp_path / 't', *amp)
        assert done.status == 0, done.err
    assert seen == [False, True], 'one batch each'


def test_predictions_pictures_and_augmentation(run_tool, short_config, tmp_path):
    config = short_config()
    assert (
        run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_epochs=1').status
        == 0
    )
    parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed')

    outputs = {}
    for name, extra in (
        ('plain.json', []), ('plain.pkl', []), ('plain.npz', []), ('plain.parquet', []), ('tta.json', ['--tta'])
    ):  # fmt: skip
        done = run_tool(
            'test.py', config, tmp_path / 'w/epoch_1.pth', '--work-dir', tmp_path / 't', '--out', tmp_path / name,
            '--show-dir', tmp_path / f'shown-{name}', '--interval', '5', *extra,
            '--cfg-options', 'model.head.topk=(1,)',
        )  # fmt: skip
        assert done.status == 0, done.err
        content = (tmp_path / name).read_bytes()
        if name.endswith('npz'):
            outputs[name] = dict(np.load(tmp_path / name))  # which reads no pickles
        elif name.endswith('parquet'):
            outputs[name] = parquet.read_table(tmp_path / name).to_pylist()
        else:
            outputs[name] = pickle.loads(content) if name.endswith('pkl') else json.loads(content)
        pictures = sorted(file.name for file in (tmp_path / f'shown-{name}').iterdir())
        assert pictures == [f'{i:06d}.png' for i in range(0, 20, 5)]
    assert len(outputs['plain.json']) == 20
    for record, sample in zip(outputs['plain.json'], outputs['plain.pkl']):
        assert record['gt_label'] == sample['gt_label'].item()
        assert record['pred_label'] == sample['pred_label'].item() == int(np.argmax(record['pred_score']))
        assert np.allclose(record['pred_score'], sample['pred_score'])
    assert outputs['tta.json'] != outputs['plain.json'] == outputs['plain.parquet']
    assert set(outputs['plain.npz']) == set(outputs['plain.json'][0])
    for name, column in outputs['plain.npz'].items():
        assert np.allclose(column, [record[name] for record in outputs['plain.json']]), name
    picture = np.asarray(Image.open(tmp_path / 'shown-plain.json' / '000000.png').convert('RGB'))
    assert picture.shape[0] == 128 + 36 and picture[:36].max() == 255, 'two lines of text above the enlarged image'


def folder_config(tmp_path, classes=3, head=3, **dataset):
    data = write_images(tmp_path / 'data', classes=classes, size=32)
    entry = dict(type='CustomDataset', data_root=str(data), data_prefix='', **dataset)
    config = tmp_path / 'folder.py'
    config.write_text(
        f"""_base_ = {str(CONFIGS / 'densenet-bc-l40-k12_1xb64_cifar10-folder.py')!r}
model = dict(
    backbone=dict(arch=dict(growth_rate=4, depths=(1, 1), init_channels=8)),
    head=dict(in_channels=10, num_classes={head}))
loader = dict(batch_size=4, num_workers=0, dataset={entry!r})
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""
    )
    return config


def test_folder_of_images_with_colours_and_names(run_tool, tmp_path):
    config = folder_config(tmp_path)
    assert run_tool('train.py', config, '--work-dir', tmp_path / 'w').status == 0
    red = Image.new('RGB', (32, 32), (255, 0, 0))
    red.save(tmp_path / 'data/class_0/0.jpg')
    done = run_tool(
        'test.py', config, tmp_path / 'w/epoch_1.pth', '--work-dir', tmp_path / 't', '--show-dir', tmp_path / 'shown',
        '--out', tmp_path / 'p.json',
    )  # fmt: skip
    assert done.status == 0, done.err
    names = sorted(file.name for file in (tmp_path / 'shown').iterdir())
    assert len(names) == 12 and names[0] == '000000_0.png' and names[4] == '000004_0.png', (
        'class folders do not collide'
    )
    picture = np.asarray(Image.open(tmp_path / 'shown/000000_0.png').convert('RGB'))
    assert picture[-64, 64, 0] > 200 and picture[-64, 64, 2] < 60, 'red stays red'
    assert json.loads((tmp_path / 'p.json').read_text())[0]['img_path'].endswith('class_0/0.jpg')


def test_fine_tuning_from_another_backbone(run_tool, short_config, tmp_path, checkpoint):
    options = ['--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_epochs=1', f'load_from={checkpoint}']
    done = run_tool('train.py', short_config(), *options)
    assert done.status == 2 and 'tensors of this model' in done.err
    done = run_tool('train.py', short_config(), '--partial', *options)
    assert done.status == 0, done.err


def test_fine_tuning_another_head(run_tool, short_config, tmp_path):
    config = short_config()
    assert (
        run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_epochs=1').status
        == 0
    )
    options = ['train_cfg.max_epochs=1', 'model.head.num_classes=12', 'optim_wrapper.optimizer.lr=0.0']
    options.append(f'load_from={tmp_path / "w/epoch_1.pth"}')
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'f', '--cfg-options', *options)
    assert done.status == 0, done.err
    before, after = weights(tmp_path / 'w/epoch_1.pth'), weights(tmp_path / 'f/epoch_1.pth')
    assert after['head.fc.weight'].shape[0] == 12
    for key in before:
        if key.startswith('backbone') and key.endswith('weight'):
            assert_same(after[key], before[key], 0, key)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A checkpoint of the digits model with random weights."""
    from mmengine.config import Config
    from mmpretrain.registry import MODELS

    model = MODELS.build(Config.fromfile(DIGITS).model)
    file = tmp_path_factory.mktemp('checkpoint') / 'digits.pth'
    torch.save(dict(meta={}, state_dict=model.state_dict()), file)
    return file


class TestMistakes:
    """Each gives one or two lines that name it, status 2, and no traceback."""

    def check(self, done, *messages):
        assert done.status == 2, done.out + done.err
        lines = [line for line in done.err.splitlines() if line.strip()]
        start = next(i for i, line in enumerate(lines) if line.startswith('error: '))
        assert len(lines) - start <= 2, lines
        assert 'Traceback' not in done.err
        for message in messages:
            assert message in done.err, done.err

    def test_missing_config(self, run_tool):
        self.check(run_tool('train.py', 'configs/nope.py'), 'config configs/nope.py does not exist')

    def test_missing_data(self, run_tool, tmp_path):
        config = CONFIGS / 'densenet121_4xb256_in1k.py'
        options = ['--work-dir', tmp_path, '--cfg-options', 'train_dataloader.dataset.data_root=/no/imagenet']
        self.check(run_tool('train.py', config, *options), 'train_dataloader.dataset.data_root: /no/imagenet')

    def test_missing_checkpoint(self, run_tool, tmp_path):
        done = run_tool('test.py', DIGITS, 'gone.pth', '--work-dir', tmp_path)
        self.check(done, 'checkpoint gone.pth does not exist')
        done = run_tool('train.py', DIGITS, '--resume', 'gone.pth', '--work-dir', tmp_path)
        self.check(done, 'checkpoint gone.pth does not exist')

    def test_label_outside_the_classes(self, run_tool, tmp_path):
        done = run_tool('train.py', folder_config(tmp_path, classes=3, head=2), '--work-dir', tmp_path / 'w')
        self.check(done, 'class_2/0.jpg', 'label 2', '2 classes', 'model.head.num_classes')

    def test_label_outside_the_classes_in_the_test_set(self, run_tool, tmp_path, checkpoint):
        config = folder_config(tmp_path, classes=3, head=2)
        done = run_tool('test.py', config, checkpoint, '--partial', '--work-dir', tmp_path / 'w')
        self.check(done, 'class_2/0.jpg', 'test_dataloader')

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
    def test_unknown_key(self, run_tool, tmp_path, option, message):
        self.check(run_tool('train.py', DIGITS, '--work-dir', tmp_path, '--cfg-options', option), message)

    def test_wrong_output(self, run_tool, tmp_path, checkpoint):
        done = run_tool('test.py', DIGITS, checkpoint, '--work-dir', tmp_path, '--out', 'x.txt')
        self.check(done, '--out x.txt', '.json')
        done = run_tool('test.py', DIGITS, checkpoint, '--work-dir', tmp_path, '--out-item', 'pred')
        self.check(done, '--out FILE')

    def test_checkpoint_of_another_architecture(self, run_tool, tmp_path, checkpoint, short_config):
        done = run_tool('test.py', short_config(), checkpoint, '--work-dir', tmp_path / 't')
        self.check(done, 'tensors of this model', 'backbone.stem.0.weight', 'another architecture')

    def test_checkpoint_with_other_classes(self, run_tool, tmp_path, checkpoint):
        options = ['--work-dir', tmp_path, '--cfg-options', 'model.head.num_classes=11']
        done = run_tool('test.py', DIGITS, checkpoint, *options)
        self.check(done, 'head.fc.weight is (10, 69), not (11, 69)', 'model.head.num_classes=10')
        assert run_tool('test.py', DIGITS, checkpoint, '--partial', *options).status == 0

    def test_hostile_checkpoint(self, run_tool, tmp_path):
        import fractions

        torch.save(dict(state_dict=fractions.Fraction(1, 2)), tmp_path / 'hostile.pth')
        done = run_tool('test.py', DIGITS, tmp_path / 'hostile.pth', '--work-dir', tmp_path)
        self.check(done, 'hostile.pth holds Python objects (fractions.Fraction)')

    def test_config_text_in_a_resumed_checkpoint_is_not_executed(self, run_tool, tmp_path, short_config, monkeypatch):
        monkeypatch.chdir(tmp_path)
        config = short_config()
        assert run_tool('train.py', config, '--work-dir', 'w', '--cfg-options', 'train_cfg.max_epochs=1').status == 0
        saved = torch.load('w/epoch_1.pth', weights_only=True)
        saved['meta']['config'] = "open('RAN', 'w')\n"
        torch.save(saved, 'w/epoch_1.pth')
        assert run_tool('train.py', config, '--work-dir', 'w', '--resume').status == 0
        assert (tmp_path / 'w/epoch_2.pth').exists() and not (tmp_path / 'RAN').exists()

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
    def test_other_arguments(self, run_tool, arguments, message):
        self.check(run_tool('train.py', *arguments), message)

    @pytest.mark.parametrize(
        ('text', 'message'),
        [
            ('a = b\n', 'bad.py cannot be read: NameError'),
            ("raise ValueError('x')\n", 'bad.py cannot be read: ValueError: x'),
            ("custom_imports = dict(imports=['nosuchmodule_'])\n", 'nosuchmodule_'),
            ('a = 1\n', 'bad.py has no model'),
        ],
    )
    def test_config_that_fails(self, run_tool, tmp_path, text, message):
        (tmp_path / 'bad.py').write_text(text)
        self.check(run_tool('train.py', tmp_path / 'bad.py'), message)

    def test_interval_of_zero(self, run_tool, tmp_path, checkpoint):
        self.check(run_tool('test.py', DIGITS, checkpoint, '--work-dir', tmp_path, '--interval', '0'), '--interval 0')

    def test_debug_shows_the_traceback(self, run_tool):
        with pytest.raises(Exception, match=r'nope\.py does not exist'):
            run_tool('train.py', 'nope.py', '--debug')
