"""Train a step of the detector and of the segmenter that docs/inherit.md inherits from mmdet and mmseg.

    PYTHONPATH=tests/support python tests/scripts/detection_and_segmentation.py FOLDER

FOLDER gets the configs of the page. It needs mmdet and mmseg (requirements/downstream.txt).
Their compiled operators, mmcv.ops, are not: no wheel of the mmcv that they ask for works with today's torch. A stand-in
has their names, and these two models call none of them while they train.
"""

import importlib.abc
import importlib.machinery
import sys
import types
from pathlib import Path

import mmcv
import torch
from doc_pages import ROOT, blocks
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import nn

import mmdensenet


class Operators(types.ModuleType):
    """A module in which every name is a module of torch's that cannot be called."""

    __path__: list = []

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name == 'mmcv.ops' or name.startswith('mmcv.ops.'):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Operators(spec.name)

    def exec_module(self, module):
        pass


def write_configs(folder: Path) -> list[Path]:
    """The page's two configs, with weights of their own."""
    files = []
    for block in blocks(ROOT / 'docs/inherit.md'):
        if block.language == 'python' and ("'mmdet::" in block.text or "'mmseg::" in block.text):
            file = folder / block.file_name
            file.write_text(block.text.replace('CHECKPOINT', str(folder / 'weights.pth')))
            files.append(file)
    return files


def detector(cfg: Config) -> dict:
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules

    register_all_modules()
    shape = (128, 160)
    sample = DetDataSample(
        metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1, 1))
    )
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[10.0, 10, 60, 60]]), labels=torch.tensor([3]))
    return step(MODELS.build(cfg.model), torch.randn(1, 3, *shape), [sample])


def segmenter(cfg: Config) -> dict:
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules()
    shape = (64, 128)
    sample = SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, *shape)))
    return step(revert_sync_batchnorm(MODELS.build(cfg.model)), torch.randn(2, 3, *shape), [sample, sample])


def step(model: nn.Module, images: torch.Tensor, samples: list) -> dict[str, float]:
    """Losses of one step from the config's weights; fails unless the gradient reaches the backbone."""
    model.init_weights()
    given = torch.load(model.backbone.init_cfg['checkpoint'], weights_only=True)['state_dict']
    assert torch.equal(model.backbone.stem[0].weight, given['backbone.stem.0.weight'])
    model.train()
    losses = model.loss(images, samples)
    terms = {name: sum(value) if isinstance(value, list) else value for name, value in losses.items()}
    sum(value for name, value in terms.items() if 'loss' in name).backward()
    gradient = model.backbone.stages[-1].block[0].conv1.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0 and gradient.isfinite().all()
    return {name: float(value.detach()) for name, value in terms.items()}


def main(folder: Path) -> None:
    mmcv.__version__ = '2.1.0'  # mmcv-lite has this code too; mmdet and mmseg refuse later numbers
    sys.meta_path.insert(0, Finder())
    torch.manual_seed(0)
    weights = mmdensenet.models.DenseNet().state_dict()
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in weights.items()}}, folder / 'weights.pth')
    for file, run in zip(write_configs(folder), (detector, segmenter), strict=True):
        DefaultScope._instance_dict.clear()
        print(file.stem, run(Config.fromfile(file)))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
