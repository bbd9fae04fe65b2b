"""tools/train.py and tools/test.py from end to end, on small data."""

import json
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import clear_state, write_short_config
from helpers import assert_equal, assert_same, load_weights
from PIL import Image

from mmdensenet.apis import train_model
from mmdensenet.models import DenseNet


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config, and the work directory of its training of two epochs."""
    folder = tmp_path_factory.mktemp('trained')
    config = write_short_config(folder / 'short.py')
    train_model(str(config), work_dir=str(folder / 'work'))
    clear_state()
    return config, folder / 'work'


def test_train_resume_and_test(check_tool, short_config, tmp_path):
    config, work_dir = short_config(), tmp_path / 'work'
    done = check_tool('train.py', config, '--work-dir', work_dir)
    assert 'warning' not in (done.out + done.err).lower(), done.out + done.err
    assert (work_dir / 'epoch_2.pth').is_file() and (work_dir / 'training_curves.png').is_file()
    log = next(work_dir.glob('*/*.log')).read_text()
    assert re.search(r'Epoch\(train\) \[2\]\[3/3\].*eta: 0:00:00', log), 'the log has the time left'
    assert 'Epoch(val) [2]' in log

    done = check_tool('train.py', config, '--work-dir', work_dir, '--resume', '--cfg-options', 'train_cfg.max_epochs=3')
    assert 'resumed epoch: 2, iter: 6' in done.out
    assert 'warning' not in (done.out + done.err).lower(), done.out + done.err
    saved = torch.load(work_dir / 'epoch_3.pth', weights_only=True)
    assert saved['meta']['epoch'] == 3 and saved['meta']['iter'] == 9

    done = check_tool(
        'test.py', config, work_dir / 'epoch_3.pth', '--work-dir', tmp_path / 't',
        '--out', tmp_path / 'm.json', '--out-item', 'metrics',
    )  # fmt: skip
    assert 'warning' not in (done.out + done.err).lower(), done.out + done.err
    accuracy = json.loads((tmp_path / 'm.json').read_text())['accuracy/top1']
    assert f'accuracy/top1: {accuracy:.4f}' in done.out
    logged = re.findall(r'Epoch\(val\) \[3\].*top1: ([\d.]+)', log_of(work_dir))[-1]
    assert accuracy == pytest.approx(float(logged), abs=1e-3)


def log_of(work_dir):
    return '\n'.join(file.read_text() for file in sorted(work_dir.glob('*/*.log')))


def test_resuming_continues_where_it_stopped(check_tool, short_config, tmp_path):
    """Going on from the first epoch's checkpoint gives the second epoch's, bit for bit, over a step of the schedule."""
    config = short_config(
        "train_dataloader = dict(batch_size=8, dataset=dict(indices=24, pipeline=[dict(type='PackInputs')]))"
    )
    check_tool('train.py', config, '--work-dir', tmp_path / 'a')
    check_tool('train.py', config, '--work-dir', tmp_path / 'b', '--resume', tmp_path / 'a/epoch_1.pth')
    assert not (tmp_path / 'b/epoch_1.pth').exists()
    assert_equal(load_weights(tmp_path / 'b/epoch_2.pth'), load_weights(tmp_path / 'a/epoch_2.pth'))


def test_resume_without_a_checkpoint_keeps_load_from(check_tool, trained, tmp_path):
    """As in a fine-tuning job with MAX_RESTARTS, before its first checkpoint."""
    config, work_dir = trained
    options = [f'load_from={work_dir / "epoch_2.pth"}', 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.0']
    check_tool('train.py', config, '--work-dir', tmp_path / 'b', '--resume', '--cfg-options', *options)
    before, after = load_weights(work_dir / 'epoch_2.pth'), load_weights(tmp_path / 'b/epoch_1.pth')
    assert torch.equal(before['head.fc.weight'], after['head.fc.weight'])


def test_a_restarted_job_goes_on_where_it_was_killed(check_tool, trained, tmp_path, monkeypatch):
    """Not at the checkpoint that its command names."""
    shutil.copytree(trained[1], tmp_path / 'a')
    command = ('train.py', trained[0], '--work-dir', tmp_path / 'a', '--resume', tmp_path / 'a/epoch_1.pth')
    assert 'resumed epoch: 1, iter: 3' in check_tool(*command).out, 'a new job resumes what its command names'
    monkeypatch.setenv('MMDENSENET_LAUNCH_TIME', '0')
    assert 'resumed epoch: 2, iter: 6' in check_tool(*command, '--cfg-options', 'train_cfg.max_epochs=3').out


def test_weights_without_batch_counters(check_tool, trained, tmp_path):
    """torch loads files from before num_batches_tracked strictly, so they are tested too."""
    config, work_dir = trained
    state = {k: v for k, v in load_weights(work_dir / 'epoch_1.pth').items() if not k.endswith('num_batches_tracked')}
    torch.save(dict(state_dict=state), tmp_path / 'old.pth')
    check_tool('test.py', config, tmp_path / 'old.pth', '--work-dir', tmp_path / 't')


def test_switches(check_tool, short_config, tmp_path, monkeypatch):
    options = ['train_cfg.max_epochs=1', 'model.backbone.channels_last=True', 'model.backbone.memory_efficient=True']
    done = check_tool(
        'train.py', short_config(), '--work-dir', tmp_path / 'w', '--amp', '--no-validate', '--tensorboard',
        '--auto-scale-lr', '--no-persistent-workers', '--no-pin-memory', '--cfg-options', *options,
    )  # fmt: skip
    assert 'Epoch(val)' not in log_of(tmp_path / 'w')
    assert list((tmp_path / 'w').glob('*/vis_data/events.out.tfevents.*'))
    assert 'LR is set based on batch size of 32 and the current batch size is 8' in done.out
    forward, seen = DenseNet.forward, []

    def spy(self, images):
        seen.append(torch.is_autocast_enabled('cpu'))
        return forward(self, images)

    monkeypatch.setattr(DenseNet, 'forward', spy)
    for amp in ([], ['--amp']):
        done = check_tool('test.py', short_config(), tmp_path / 'w/epoch_1.pth', '--work-dir', tmp_path / 't', *amp)
    assert seen == [False, True], 'one batch each'


def test_predictions_pictures_and_augmentation(check_tool, trained, tmp_path):
    config, work_dir = trained
    parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed')

    outputs = {}
    for name, extra in (
        ('plain.json', []), ('plain.pkl', []), ('plain.npz', []), ('plain.parquet', []), ('tta.json', ['--tta'])
    ):  # fmt: skip
        check_tool(
            'test.py', config, work_dir / 'epoch_1.pth', '--work-dir', tmp_path / 't', '--out', tmp_path / name,
            '--show-dir', tmp_path / f'shown-{name}', '--interval', '5', *extra,
            '--cfg-options', 'model.head.topk=(1,)',
        )  # fmt: skip
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


def test_folder_of_images_with_colours_and_names(check_tool, folder_config, tmp_path):
    config = folder_config()
    check_tool('train.py', config, '--work-dir', tmp_path / 'w')
    red = Image.new('RGB', (32, 32), (255, 0, 0))
    red.save(tmp_path / 'data/class_0/0.jpg')
    check_tool(
        'test.py', config, tmp_path / 'w/epoch_1.pth', '--work-dir', tmp_path / 't', '--show-dir', tmp_path / 'shown',
        '--out', tmp_path / 'p.json',
    )  # fmt: skip
    names = sorted(file.name for file in (tmp_path / 'shown').iterdir())
    assert len(names) == 12 and names[0] == '000000_0.png' and names[4] == '000004_0.png', 'no picture is overwritten'
    picture = np.asarray(Image.open(tmp_path / 'shown/000000_0.png').convert('RGB'))
    assert picture[-64, 64, 0] > 200 and picture[-64, 64, 2] < 60, 'red stays red'
    assert json.loads((tmp_path / 'p.json').read_text())[0]['img_path'].endswith('class_0/0.jpg')


def test_fine_tuning_from_another_backbone(run_tool, check_tool, short_config, tmp_path, digits_checkpoint):
    options = ['--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_epochs=1', f'load_from={digits_checkpoint}']
    done = run_tool('train.py', short_config(), *options)
    assert done.status == 2 and 'tensors of this model' in done.err
    check_tool('train.py', short_config(), '--partial', *options)


def test_fine_tuning_another_head(check_tool, trained, tmp_path):
    config, work_dir = trained
    options = ['train_cfg.max_epochs=1', 'model.head.num_classes=12', 'optim_wrapper.optimizer.lr=0.0']
    options.append(f'load_from={work_dir / "epoch_1.pth"}')
    check_tool('train.py', config, '--work-dir', tmp_path / 'f', '--cfg-options', *options)
    before, after = load_weights(work_dir / 'epoch_1.pth'), load_weights(tmp_path / 'f/epoch_1.pth')
    assert after['head.fc.weight'].shape[0] == 12
    for key in before:
        if key.startswith('backbone') and key.endswith('weight'):
            assert_same(after[key], before[key], 0, key)
