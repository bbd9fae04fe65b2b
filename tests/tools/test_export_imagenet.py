"""DenseNet-121, exported, over photographs of all shapes."""

import re

import pytest
import torch
from conftest import CONFIGS, ROOT
from real_input import calibrate

IMAGES = ROOT / 'data/imagenet/val'
CONFIG = CONFIGS / 'densenet121_4xb256_in1k.py'

pytest.importorskip('onnxruntime', reason='the extra export is not installed')
pytest.importorskip('openvino', reason='the extra export is not installed')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Weights that tell photographs apart: random ones, with norms and classifier after 64 of these."""
    if not IMAGES.is_dir():
        pytest.skip(f'there are no images of ImageNet in {IMAGES.relative_to(ROOT)}')
    folder = tmp_path_factory.mktemp('imagenet')
    files = sorted(IMAGES.rglob('*.JPEG'))
    (folder / 'some').mkdir()
    for i, file in enumerate(files[:: max(1, len(files) // 256)][:256]):
        (folder / 'some' / f'{i:03}.JPEG').symlink_to(file.resolve())
    calibrate(str(folder / 'some'), str(folder / 'w.pth'))
    return folder / 'w.pth'


@pytest.mark.slow
@pytest.mark.parametrize('extra', [[], ['--with-preprocess']], ids=['normalised', 'whole images'])
@pytest.mark.parametrize(('format', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml'), ('torch-export', '.pt2')])
def test_the_same_scores_and_top1(run_tool, checkpoint, tmp_path, format, suffix, extra):
    arguments = ['--format', format, '--out', tmp_path / f'd{suffix}', '--images', IMAGES, '--check', '64']
    threads = torch.get_num_threads()
    done = run_tool('export.py', CONFIG, checkpoint, *arguments, *extra)
    torch.set_num_threads(threads)
    assert done.status == 0, done.err
    agree, difference = re.search(r'same top-1 for (\S+) %, largest difference of a score (\S+)', done.out).groups()
    assert float(agree) == 100 and float(difference) < 1e-4
