"""The summary and the line of each epoch, against what the log has."""

import json
import re

import pytest


def rows(out: str) -> dict[str, str]:
    return {line[:11].strip(): line[12:] for line in out.splitlines() if re.match(r'[a-z ]{11} \S', line)}


def test_a_run_in_few_lines(run_tool, short_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_tool('train.py', short_config(), '--work-dir', 'w')
    assert done.status == 0 and done.err == ''
    lines = done.out.splitlines()
    assert len(lines) <= 14, done.out
    found = rows(done.out)
    assert found['config'] == 'short.py' and found['work dir'] == 'w' and found['seed'] == '0'
    assert re.fullmatch(r'DenseNet, [\d,]+ parameters, [\d.]+ [kM]FLOPs \(multiply-adds\) for 1x8x8', found['model'])
    assert found['data'] == '24 images for training, 20 images for validation, 10 classes'
    assert found['batch'] == '8, learning rate 0.05 (SGD), 2 epochs'
    assert found['device'] == 'cpu, 1 thread' and found['precision'] == 'float32' and found['engine']
    log = (tmp_path / found['log']).read_text()
    scalars = [json.loads(line) for line in next(tmp_path.glob('w/*/vis_data/scalars.json')).read_text().splitlines()]
    top1 = [each['accuracy/top1'] for each in scalars if 'accuracy/top1' in each]
    losses = [each['loss'] for each in scalars if 'loss' in each]
    epochs = [line for line in lines if line.startswith('epoch ')]
    assert len(epochs) == len(top1) == 2
    for number, (line, value) in enumerate(zip(epochs, top1), 1):
        assert line.startswith(f'epoch {number}/2  loss ') and f'accuracy/top1 {value:.4f}' in line
        assert ('(best so far)' in line) == (number == 1 or value > top1[0])
    assert float(re.search(r'loss ([\d.]+)', epochs[0])[1]) == pytest.approx(sum(losses[:3]) / 3, abs=0.02)
    assert re.search(r'\d:\d\d:\d\d left$', epochs[0]) and 'left' not in epochs[1]
    assert 'System environment' in log and 'Epoch(train)' in log and 'Hooks will be executed' in log
    assert epochs[0] not in log, 'the log is what it was'


def test_resuming_testing_and_verbose(check_tool, short_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = short_config()
    one = ('--cfg-options', 'train_cfg.max_epochs=1')
    verbose = check_tool('train.py', config, '--work-dir', 'w', '--verbose', *one)
    assert 'System environment' in verbose.out and 'Epoch(train)' in verbose.out
    resumed = check_tool('train.py', config, '--work-dir', 'w', '--resume', '--amp', '--no-validate')
    found = rows(resumed.out)
    assert found['checkpoint'].startswith('resumed from ') and found['precision'] == 'bfloat16 (mixed)'
    assert 'validation' not in found['data']
    assert [line[:11] for line in resumed.out.splitlines() if line.startswith('epoch ')] == ['epoch 2/2  ']
    tested = check_tool('test.py', config, 'w/epoch_2.pth', '--work-dir', 't')
    found = rows(tested.out)
    assert found['data'] == '20 images for testing, 10 classes' and len(found) <= 11
    assert found['checkpoint'] == 'weights of w/epoch_2.pth' and 'Loads checkpoint' not in tested.out


def test_by_iterations(check_tool, short_config, tmp_path):
    loop = "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=6, val_interval=3)\n"
    # nothing is learnt, so both validations give the same, of which this hook keeps the later
    loop += "model = dict(backbone=dict(norm_cfg=dict(type='BN', momentum=0.)))\nparam_scheduler = []\n"
    loop += "keep = dict(type='mmdensenet.LatestBestCheckpointHook', by_epoch=False, interval=3)\n"
    loop += 'default_hooks = dict(checkpoint=keep)\noptim_wrapper = dict(optimizer=dict(lr=0.))\n'
    done = check_tool('train.py', short_config(loop), '--work-dir', tmp_path / 'w')
    assert rows(done.out)['batch'].endswith('6 iterations')
    lines = [line for line in done.out.splitlines() if line.startswith('iteration ')]
    assert [line[:13] for line in lines] == ['iteration 3/6', 'iteration 6/6'] and 'loss' in lines[0]
    assert [line.count('(best so far)') for line in lines] == [1, 1]
    done = check_tool('train.py', short_config(loop), '--work-dir', tmp_path / 'v', '--no-validate')
    assert [line[:13] for line in done.out.splitlines() if line.startswith('iteration ')] == ['iteration 6/6'], done.err
