"""Every config, found by itself: it builds, its schedule ends in time, it trains a step, and the metafile knows it."""

import ast
import copy
import functools
import json
import math
import re
import runpy

import numpy as np
import pytest
import torch
import yaml
from conftest import CONFIGS, ROOT
from helpers import count_flops, count_multiply_adds, count_parameters, with_hooks
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image

from mmdensenet.models import RDNet

LEAVES = sorted(CONFIGS.glob('*.py'))
ROWS = {row['Name']: row for row in yaml.safe_load((CONFIGS / 'metafile.yml').read_text())['Models']}


@pytest.fixture(params=LEAVES, ids=lambda file: file.stem)
def file(request):
    return request.param


@functools.cache
def read(file):
    return Config.fromfile(file)


@pytest.fixture
def cfg(file):
    cfg = copy.deepcopy(read(file))
    init_default_scope(cfg.default_scope)
    return cfg


def test_there_are_configs():
    assert {'121', '161', '169', '201'} <= {re.sub(r'densenet(\d+)_.*', r'\1', file.stem) for file in LEAVES}


# The paper's and the technical report's models, with 10 and 1000 classes (arXiv:1608.06993, arXiv:1707.06990).
PARAMETERS = {
    'densenet121_4xb64_in1k': 7_978_856,
    'densenet169_4xb64_in1k': 14_149_480,
    'densenet201_4xb64_in1k': 20_013_928,
    'densenet161_4xb64_in1k': 28_681_000,
    'densenet264_4xb64_in1k': 33_337_704,
    'densenet232-k48_4xb64_in1k': 55_570_984,
    'densenet264-k32-cosine_4xb64_in1k': 33_337_704,
    'densenet264-k48-cosine_4xb64_in1k': 72_686_632,
    'densenet-l40-k12_1xb64_cifar10': 1_019_722,
    'densenet-l100-k12_1xb64_cifar10': 6_979_642,
    'densenet-l100-k24_1xb64_cifar10': 27_249_082,
    'densenet-bc-l100-k12_1xb64_cifar10': 769_162,
    'densenet-bc-l250-k24_1xb64_cifar10': 15_324_406,
    'densenet-bc-l190-k40_1xb64_cifar10': 25_624_430,
    'densenet-bc-l40-k12_1xb64_cifar10': 176_122,
    'densenet-bc-l40-k12_2xb64-40e_cifar10-folder': 176_122,
    'densenetblur121d_4xb256_in1k': 7_998_088,
    'rdnet-tiny_8xb64_in1k': 23_863_008,
    'rdnet-small_8xb64_in1k': 50_436_448,
    'rdnet-base_8xb64_in1k': 87_451_096,
    'rdnet-large_8xb64_in1k': 186_269_632,
}


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameters_of_the_published_models(name):
    """The metafile's numbers are compared with the models by test_row_in_the_metafile."""
    assert ROWS[name]['Metadata']['Parameters'] == PARAMETERS[name]


@pytest.mark.parametrize(('arch', 'published'), [('tiny', 5.06), ('small', 8.74), ('base', 15.40), ('large', 34.74)])
def test_multiply_adds_of_rdnet(arch, published):
    """In G; timm's published figures count five operations more for each value that a norm gets."""
    with torch.device('meta'):
        net = RDNet(arch, engine='reference')
    values = 0

    def add(_, given, out):
        nonlocal values
        values += given[0].numel()

    with_hooks(net, (torch.nn.LayerNorm,), add, lambda: net(torch.empty(1, 3, 224, 224, device='meta')))
    multiply_adds = ROWS[f'rdnet-{arch}_8xb64_in1k']['Metadata']['Multiply-Adds']
    assert round((multiply_adds + 5 * values) / 1e9, 2) == published


@pytest.mark.parametrize('model', ['l40-k12', 'l100-k12', 'l100-k24', 'bc-l100-k12', 'bc-l250-k24', 'bc-l190-k40'])
def test_every_row_of_table_2_has_its_configs(model):
    there = {file.stem.rpartition('_')[2] for file in CONFIGS.glob(f'densenet-{model}_*.py')}
    there -= {'cifar10-folder'}  # the same data as image files
    without = {'cifar10', 'cifar100'}
    assert there == (without if '190' in model else without | {'cifar10-noaug', 'cifar100-noaug', 'svhn'})


def test_flops_that_openmmlab_publishes():
    """The metafile's are compared with the models by test_row_in_the_metafile."""
    published = {'121': 2_881_695_488, '161': 7_816_363_968, '169': 3_416_860_160, '201': 4_365_236_736}
    assert {arch: ROWS[f'densenet{arch}_4xb256_in1k']['Metadata']['FLOPs'] for arch in published} == published


def test_dropout_stands_where_there_is_no_augmentation(file, cfg):
    drop_rate = cfg.model.backbone.get('drop_rate', 0)
    assert drop_rate == (0.2 if file.stem.endswith(('noaug', 'svhn')) else 0)
    if drop_rate:
        assert [step['type'] for step in cfg.train_dataloader.dataset.pipeline] == ['PackInputs']
        assert cfg.model.backbone.drop_after == 'convolution', 'section 4.2: after each but the first'
        assert 'dropout 0.2' in ast.get_docstring(ast.parse(file.read_text()))


def test_docstring_says_what_to_expect(file):
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    for word in ('Expected:', 'Hardware:', 'Train:', 'Test:'):
        assert word in docstring
    assert docstring.count(f'configs/{file.name}') >= 2, 'the commands name this file'
    assert ('No run of ours stands behind this config' in docstring) == ('Ours' not in ROWS[file.stem])


def as_text(part) -> str:
    return json.dumps(part, sort_keys=True, default=list)


@functools.cache
def count(model: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Parameters, FLOPs and multiply-adds of a model, without memory for it; many configs share theirs."""
    cfg = json.loads(model)
    cfg['backbone']['engine'] = 'reference'  # calls its modules, which is what the counters listen to
    with torch.device('meta'):
        built = MODELS.build(cfg).eval()
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.forward = lambda values: values  # of the same shape; on 'meta' norms take most of the time
    return count_parameters(built), count_flops(built, shape), count_multiply_adds(built, shape)


def test_row_in_the_metafile(file, cfg):
    row = ROWS[file.stem]
    assert row['Config'] == f'configs/{file.name}'
    counts = tuple(row['Metadata'][key] for key in ('Parameters', 'FLOPs', 'Multiply-Adds'))
    for key in ('drop_rate', 'drop_after', 'drop_path_rate'):  # nothing of them is counted
        cfg.model.backbone.pop(key, None)
    cfg.model.pop('train_cfg', None)
    assert count(as_text(cfg.model), tuple(row['Metadata']['Input'])) == counts
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    for result in row.get('Results', ()):
        for value in result['Metrics'].values():
            assert re.search(rf'\b{value}0?%', docstring), value
        assert result['Source']


def test_every_row_has_its_config():
    assert {(ROOT / row['Config']).stem for row in ROWS.values()} == {file.stem for file in LEAVES}


def test_batch_and_learning_rate_are_those_of_the_name(file, cfg):
    gpus, batch = map(int, re.search(r'_(\d+)xb(\d+)[-_]', file.stem).groups())
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch
    if 'in1k' in file.stem and not has_own_schedule(file):  # lr 0.1 for batch 256, scaled linearly
        assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.1 * gpus * batch / 256)


def has_own_schedule(file) -> bool:
    """RDNet's is its authors'; one that is no paper's has its name behind the batch: 1xb256-40e (test_recipes.py)."""
    return file.stem.startswith('rdnet') or re.search(r'xb\d+-', file.stem) is not None


@functools.cache
def learning_rates(text, iterations_per_epoch=4):
    """The learning rate in the middle of each epoch, from mmengine's own schedulers."""
    cfg = Config(json.loads(text))
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    built = [
        PARAM_SCHEDULERS.build(s, default_args=dict(optimizer=wrapper, epoch_length=iterations_per_epoch))
        for s in schedulers
    ]
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        for i in range(iterations_per_epoch):
            if i == iterations_per_epoch // 2:
                rates.append(wrapper.get_lr()['lr'][0])
            wrapper.optimizer.step()
            for s in built:
                if not s.by_epoch:
                    s.step()
        for s in built:
            if s.by_epoch:
                s.step()
    return rates


def test_schedule_ends_inside_its_epochs(file, cfg):
    epochs = cfg.train_cfg.max_epochs
    rates = learning_rates(as_text({key: cfg[key] for key in ('optim_wrapper', 'param_scheduler', 'train_cfg')}))
    base = cfg.optim_wrapper.optimizer.lr
    if has_own_schedule(file):
        assert max(rates) <= base < 1.1 * max(rates), 'the rate given is the highest'
        peak = rates.index(max(rates))
        assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
        assert peak <= epochs / 4 and rates[-1] < 0.06 * base, 'up in at most a quarter of the epochs, then down'
        return
    # the paper's section 4.2, the report's section 5
    assert epochs == 100 or not re.search('232|cosine', file.stem)
    if 'cosine' in file.stem:
        expected = [base * (1 + math.cos(math.pi * (epoch + 0.5) / epochs)) / 2 for epoch in range(epochs)]
        assert rates == pytest.approx(expected)
        return
    decays = [epoch for epoch in range(1, epochs) if rates[epoch] < rates[epoch - 1] * 0.5]
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    stated = [milestone for s in schedulers for milestone in s.get('milestones', ())]
    assert decays == stated, 'every step of the schedule is reached'
    # paper, section 4.2: 50% and 75% of the epochs, on ImageNet every 30
    assert stated == ([*range(30, epochs, 30)] if 'in1k' in file.stem else [epochs // 2, epochs * 3 // 4])
    assert max(rates) == pytest.approx(base)
    assert rates[-1] == pytest.approx(base / 10 ** len(stated))
    if '4xb256' in file.stem:
        assert rates[0] < rates[1] < rates[4] < rates[5] == pytest.approx(base), 'five epochs of warm-up'


def distinct_models():
    """One config for each backbone; the schedule, the data, the loss and batch augmentation make no other."""
    files = {}
    for file in LEAVES:
        files.setdefault(as_text({**read(file).model.backbone, 'drop_path_rate': 0}), file)
    large = re.compile('rdnet-(small|base|large)')  # tests/models has their sizes; a step takes seconds
    return [pytest.param(f, marks=pytest.mark.slow if large.match(f.stem) else ()) for f in files.values()]


@pytest.mark.parametrize('file', distinct_models(), ids=lambda file: file.stem)
def test_one_training_step(file):
    cfg = copy.deepcopy(read(file))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    cfg.model.backbone.pop('drop_path_rate', None)  # a block that is dropped does not change
    model = MODELS.build(cfg.model)
    size = 8 if cfg.model.backbone.get('stem') == 'cifar' else 64
    channels = cfg.model.backbone.get('in_channels', 3)
    from mmengine.optim import build_optim_wrapper

    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    classes = cfg.model.head.num_classes
    samples = [DataSample().set_gt_label(label).set_gt_score(torch.eye(classes)[label]) for label in (0, classes - 1)]
    images = torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = model.train_step(dict(inputs=images, data_samples=samples), wrapper)
    assert torch.isfinite(losses['loss'])
    unchanged = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert unchanged == []


#: side of the crops of training where it is not 224, as the configs' docstrings say
TRAINED_AT = {
    'densenet121_4xb512-a3-100e_in1k': 160,
    'densenet121_8xb128-tv2-600e_in1k': 176,
    'densenet121_1xb256-16e_in1k': 128,
    'rdnet-large-384_8xb64_in1k': 384,
}


def test_pipelines_and_evaluators_run(file, cfg, tmp_path):
    """Two images go through each pipeline, in one size, and predictions for them through the evaluators."""
    channels = cfg.model.backbone.get('in_channels', 3)
    classes = cfg.model.head.num_classes
    small = cfg.model.backbone.get('stem') == 'cifar'
    size = (8, 8) if channels == 1 else (32, 32) if small else (300, 260)
    init_default_scope(cfg.default_scope)
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        pipeline = Compose(cfg[key].dataset.pipeline)
        samples = []
        for label in (0, classes - 1):
            pixels = np.random.default_rng(label).integers(0, 256, (*size, channels), dtype=np.uint8)
            Image.fromarray(pixels.squeeze()).save(tmp_path / 'image.png')
            info = dict(img=pixels, img_shape=size, ori_shape=size, img_path=str(tmp_path / 'image.png'), group=label)
            samples.append(pipeline(dict(info, gt_label=label, gt_score=np.eye(classes, dtype=np.float32)[label])))
        inputs = torch.stack([sample['inputs'] for sample in samples])
        side = TRAINED_AT.get(file.stem, 224) if key == 'train_dataloader' else ROWS[file.stem]['Metadata']['Input'][-1]
        assert inputs.shape == (2, channels, *(size if small else (side, side)))
        if key == 'train_dataloader':
            continue
        evaluator = Evaluator(cfg[key.replace('dataloader', 'evaluator')])
        for sample in samples:
            sample['data_samples'].set_pred_score(torch.as_tensor(sample['data_samples'].gt_score, dtype=torch.float))
        evaluator.process(
            [sample['data_samples'].set_pred_label(sample['data_samples'].gt_label) for sample in samples]
        )
        found = evaluator.evaluate(2)
        assert found and max(found.values()) in (1, 100), 'all right'


@pytest.mark.parametrize(('gpu', 'backend'), [(True, 'nccl'), (False, 'gloo')])
def test_runtime_selects_a_back_end_that_is_there(file, monkeypatch, gpu, backend):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    assert Config.fromfile(file).env_cfg.dist_cfg.backend == backend


def test_readme_and_model_zoo_are_what_the_metafile_gives():
    for file, text in runpy.run_path(str(ROOT / 'docs/model_zoo.py'))['contents']().items():
        assert file.read_text() == text, f'{file.name}: run `make model-zoo`'
