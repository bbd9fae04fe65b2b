"""Build the wheel and use it from another folder and a new environment that has nothing else of this project.

Run by `make wheel-check` and by .ci/run; not collected by pytest, since it installs an environment of its own.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / 'requirements' / 'constraints.txt'


def run(*command, cwd: Path, **env: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **env},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        sys.exit(f'{" ".join(map(str, command))} ended with {done.returncode}:\n{done.stdout}')
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # --wheel alone builds from the tree; without it the wheel is made from the source archive, so both are tested
        run(sys.executable, '-m', 'build', '--outdir', folder / 'dist', ROOT, cwd=ROOT)
        wheel = next((folder / 'dist').glob('*.whl'))
        assert wheel.name.split('-', 2)[2].startswith('py3-none-linux_'), 'the wheel carries the kernels'
        print(f'built {wheel.name} from {next((folder / "dist").glob("*.tar.gz")).name}', flush=True)
        venv.create(folder / 'env', with_pip=True)
        python = folder / 'env' / 'bin' / 'python'
        run(python, '-m', 'pip', 'install', '--quiet', '-c', CONSTRAINTS, f'{wheel}[lite]', cwd=folder)
        installed = run(python, '-m', 'pip', 'list', cwd=folder)
        assert 'pytest' not in installed, 'the environment has the test extras'
        work = folder / 'elsewhere'
        work.mkdir()
        (work / 'check.py').write_text(CHECK)
        print(run(python, 'check.py', cwd=work).strip().splitlines()[-1], flush=True)

        # the tools and launch scripts that the wheel carries
        tools = run(python, '-c', 'import mmdensenet, os; print(os.path.dirname(mmdensenet.__file__))', cwd=work)
        tools = Path(tools.strip().splitlines()[-1]) / '.mim' / 'tools'
        assert (tools.parent / 'model-index.yml').is_file()
        out = run(
            python,
            tools / 'train.py',
            'mine.py',
            '--work-dir',
            'w',
            '--cfg-options',
            'train_cfg.max_epochs=1',
            cwd=work,
        )
        # of one epoch the config's schedule is longer, which is said
        warnings = [line for line in out.splitlines() if 'warning' in line.lower()]
        assert all(line.startswith('warning: param_scheduler: ') for line in warnings), out
        run(python, tools / 'test.py', 'mine.py', 'w/epoch_1.pth', '--work-dir', 't', cwd=work)
        command = python.with_name('mmdensenet')
        assert 'usage: mmdensenet COMMAND' in run(command, '--help', cwd=work)
        run(command, 'report', 'mine.py', 'w/epoch_1.pth', '--no-measure', '--bootstrap', '9', cwd=work)
        assert (work / 'report.html').read_text().count('<h2') > 9, 'the template is in the wheel'
        out = run(
            'bash',
            tools / 'dist_test.sh',
            'mine.py',
            'w/epoch_1.pth',
            '2',
            '--work-dir',
            't',
            cwd=work,
            PYTHON=str(python),
        )
        assert 'accuracy/top1' in out
        run(command, 'configs', 'copy', 'densenet121_4xb256', 'copy.py', cwd=work)
        assert '"multiply_adds"' in run(command, 'complexity', 'copy.py', '--no-measure', '--json', cwd=work)
        print('wheel check: the command, tools and launch scripts of the wheel work', flush=True)


CHECK = '''
import mmdensenet
from mmdensenet.ops.show_engine import engine
assert engine().startswith('C++ kernels'), engine()
import copy
import numpy as np, torch
from pathlib import Path
from PIL import Image
from mmengine.config import Config
from mmengine.hub import get_config, get_model
from mmengine.registry import MODELS, Registry
from mmengine.runner import Runner

assert 'site-packages' in mmdensenet.__file__, mmdensenet.__file__
static = Path(mmdensenet.__file__).with_name('serving') / 'static'
assert {'page.html', 'page.css', 'page.js'} <= {file.name for file in static.iterdir()}, 'the page of tools/serve.py'
for label in range(2):
    for split in ('train', 'val'):
        folder = Path('images', split, f'n{label}')
        folder.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.random.randint(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / f'{i}.jpg')

Path('mine.py').write_text("""
_base_ = 'mmdensenet::densenet121_4xb256_in1k.py'
model = dict(head=dict(num_classes=2, topk=(1,)))
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(
    type='CustomDataset', _delete_=True, data_root='images', data_prefix='train', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', scale=64), dict(type='PackInputs')]))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(
    type='CustomDataset', _delete_=True, data_root='images', data_prefix='val', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
""")
cfg = Config.fromfile('mine.py')
assert cfg.model.head.num_classes == 2
cfg.work_dir = 'iteration'
cfg.train_cfg = dict(by_epoch=False, max_iters=1)
cfg.param_scheduler = None
cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=1)
Runner.from_cfg(cfg).train()
assert Path('iteration/iter_1.pth').is_file()

assert get_config('mmdensenet::densenet161_4xb256_in1k.py').model.backbone.arch == '161'
assert type(get_model('mmdensenet::densenet121_4xb256_in1k.py')).__name__ == 'ImageClassifier'

from mmpretrain.registry import MODELS as MMPRETRAIN
backbone = dict(type='mmdensenet.DenseNet', out_indices=(0, 1, 2, 3))
outs = MMPRETRAIN.build(copy.deepcopy(backbone))(torch.rand(1, 3, 64, 64))
assert len(outs) == 4
mmdet = Registry('model', parent=MODELS, scope='mmdet')  # mmdet itself needs the full mmcv
assert type(mmdet.build(copy.deepcopy(backbone))).__name__ == 'DenseNet'
print('wheel check: configs, hub, one iteration and other scopes work')
'''


if __name__ == '__main__':
    main()
