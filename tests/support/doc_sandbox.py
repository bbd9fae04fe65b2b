"""A folder as a reader of the documentation has it, with small data, and configs made small."""

import re
from pathlib import Path

import numpy as np
import torch
from conftest import ROOT
from mmengine.config import Config
from PIL import Image

CLASSES = ('bird', 'cat', 'dog')
#: what the pages write for something of the reader's, and what it is here
PLACEHOLDERS = {
    'CONFIG_NAME': 'small',
    'CONFIG': 'small.py',
    'CHECKPOINT': 'work_dirs/small/epoch_3.pth',
    'WORK_DIR': 'work_dirs/other',
    'OTHER_RUN': 'again',
    'RUN': 'small',
    'CLASS': 'cat',
    'MODEL': 'small.py',
    'IMAGE': 'data/folder/val/cat/0.jpg',
    'WEIGHTS.pth': 'random/densenet121.pth',
    'SOURCE': 'densenet121-a639ec97.pth',
    'TARGET': 'target.safetensors',
}
SIZES = {224: 64, 256: 72}
#: srun: leave its own options out, and run the command
SRUN = """#!/usr/bin/env bash
while [ "${1:0:1}" = - ]; do if [ "$1" = -p ]; then shift; fi; shift; done
exec "$@"
"""


def miniature(cfg: Config) -> None:
    """Make a config's DenseNet tiny, its images 64x64 and its data sets short; nothing is downloaded."""
    backbone = cfg.get('model', {}).get('backbone', {})
    arch = backbone.get('arch', '121')
    if backbone.get('type') == 'mmdensenet.DenseNet' and (isinstance(arch, str) or arch['growth_rate'] > 4):
        stages = 4 if isinstance(arch, str) else len(arch['depths'])
        # whole, for merging would keep what the other dict has
        backbone['arch'] = dict(growth_rate=4, depths=(1,) * stages, init_channels=8)
        channels = 8
        for stage in range(stages):
            channels += 4
            if stage < stages - 1:
                channels = int(channels * backbone.get('compression_factor', 0.5))
        if 'head' in cfg.model:
            cfg.model.head.in_channels = channels
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            loader.num_workers = 0
            loader.persistent_workers = False
            if loader.dataset.type == 'mmdensenet.Digits':
                loader.dataset.indices = 64
            for step in loader.dataset.get('pipeline', ()):
                for key in ('scale', 'crop_size'):
                    if key in step:
                        step[key] = SIZES.get(step[key], step[key])
    if '://' in (cfg.get('load_from') or ''):
        cfg.load_from = None


def write_image(file: Path, label: int, rng: np.random.Generator, grey: bool = False) -> None:
    """A 48x48 JPEG or PNG of noise, of which each class has another channel or quarter bright."""
    pixels = rng.integers(0, 120, (48, 48) if grey else (48, 48, 3), dtype=np.uint8)
    if grey:
        pixels[:24] += 100 * (label % 2)
        pixels[24:] += 100 * (label // 2)
    else:
        pixels[..., label % 3] += 100
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def make(project: Path) -> Path:
    """The folder: links to those of the repository, data sets, loose images, a small config."""
    project.mkdir(parents=True)
    for name in ('configs', 'tools', 'benchmarks', 'requirements', 'docs', 'tests'):
        (project / name).symlink_to(ROOT / name)
    rng = np.random.default_rng(0)
    for data in ('folder', 'flowers'):
        for split, count in (('train', 8), ('val', 6)):
            for label, name in enumerate(CLASSES):
                for i in range(count):
                    write_image(project / f'data/{data}/{split}/{name}/{i}.jpg', label, rng)
    for label, name in enumerate(CLASSES):  # the reader's own, not divided yet
        for i in range(15):
            write_image(project / f'photos/{name}/{i:02}.jpg', label, rng)
    for label, name in enumerate(CLASSES):
        write_image(project / f'{name}.jpg', label, rng)
    rows = ['image,patient,Edema,Mass,Nodule,finding']
    for i in range(40):
        write_image(project / f'data/chest/images/a/{i:04}.png', i % 4, rng, grey=True)
        unknown = ('', '-1', '0', '1')[i % 4] if i % 8 == 7 else '0'
        rows.append(f'a/{i:04}.png,p{i // 2},{i % 2},{i // 2 % 2},{unknown if i % 3 else 1},{CLASSES[i // 2 % 3]}')
    (project / 'data/chest/labels.csv').write_text('\n'.join(rows) + '\n')
    lines = []
    for i in range(4):
        write_image(project / f'data/imagenet/val/n{i}/{i}.JPEG', i, rng)
        lines.append(f'n{i}/{i}.JPEG {i}\n')
    (project / 'data/imagenet/meta').mkdir()
    (project / 'data/imagenet/meta/val.txt').write_text(''.join(lines))
    cfg = Config.fromfile(ROOT / 'configs/densenet121_1xb32_folder.py')
    miniature(cfg)
    cfg.model.head.num_classes = 3
    cfg.data_preprocessor.num_classes = 3
    cfg.train_cfg.max_epochs = 3
    cfg.dump(project / 'small.py')
    return project


def checkout(folder: Path) -> Path:
    """The repository as pip needs it, of links: what setuptools writes stays in the folder."""
    folder.mkdir(exist_ok=True)
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'requirements', 'mmdensenet'):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder


def stand_ins(folder: Path) -> Path:
    """Programs for the scripts of several processes: srun runs its command here, python only notes what it is given."""
    folder.mkdir()
    programs = {
        'srun': SRUN,
        'python': f'#!/usr/bin/env bash\nprintf "%s\\0" "$@" > {folder}/launched\n',
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def legacy_torchvision_weights(file: Path) -> None:
    """Random weights of torchvision's DenseNet-121 under the keys of its published file."""
    from torchvision.models import densenet121

    torch.manual_seed(0)
    weights = {key: t for key, t in densenet121().state_dict().items() if 'num_batches' not in key}
    torch.save({re.sub(r'(denselayer\d+\.(?:norm|conv))(\d)', r'\1.\2', key): t for key, t in weights.items()}, file)
