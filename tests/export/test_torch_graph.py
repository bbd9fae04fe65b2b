"""A torch.export file of a stranger is data or refused."""

import json
import zipfile

import pytest
import torch
from torch import nn

from mmdensenet.export.torch_graph import TorchGraph, UnreadableError
from mmdensenet.models import DenseNet


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    images = torch.randn(2, 2, 6, 6)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim('batch')},))
    torch.export.save(program, str(tmp_path / 'a.pt2'), extra_files={'mmdensenet.json': 'about'})
    return tmp_path / 'a.pt2', model


def test_the_graph_is_walked(file):
    path, model = file
    graph = TorchGraph(path)
    images = torch.randn(5, 2, 6, 6)
    assert graph.description == 'about'
    assert torch.equal(graph(images), model(images).detach())


def test_backbones_that_are_not_folded(tmp_path):
    """A group norm, NHWC order in memory, and BlurPool's kernel, which is in no state dict."""
    arch = dict(growth_rate=4, depths=(2, 2), init_channels=8)
    norm = dict(type='GN', num_groups=2)
    net = DenseNet(arch, stem='deep', stem_blur=True, norm_cfg=norm, channels_last=True, out_indices=-1)
    model = nn.Sequential(net, Last()).eval()
    images = torch.randn(2, 3, 32, 48)
    torch.export.save(torch.export.export(model, (images,)), str(tmp_path / 'a.pt2'))
    assert torch.equal(TorchGraph(tmp_path / 'a.pt2')(images), model(images).detach())


class Last(nn.Module):
    def forward(self, features):
        return features[-1]


def changed(path, part: str, change) -> None:
    """Rewrite one part of the archive, which is JSON."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (name,) = [name for name in parts if name.endswith(part)]
    content = json.loads(parts[name])
    change(content)
    parts[name] = json.dumps(content).encode()
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def nodes(program: dict) -> list[dict]:
    return program['graph_module']['graph']['nodes']


HOSTILE = {
    'a function of torch': lambda p: nodes(p)[1].update(target='torch.os.system'),
    'a dotted name behind the prefix': lambda p: nodes(p)[1].update(target='torch.ops.aten.__class__.__init__'),
    'an operator that writes': lambda p: nodes(p)[1].update(target='torch.ops.aten.copy_.default'),
    'another namespace': lambda p: nodes(p)[1].update(target='torch.ops.mkldnn._convolution'),
    'a higher-order operator': lambda p: nodes(p)[1]['inputs'][0].update(arg={'as_graph': {'name': 'g'}}),
    'a custom object': lambda p: p['graph_module']['signature']['input_specs'].append({'custom_obj': {}}),
    'a later schema': lambda p: p['schema_version'].update(major=9),
    'two inputs': lambda p: p['graph_module']['signature']['input_specs'].append(
        p['graph_module']['signature']['input_specs'][-1]
    ),
    'no nodes': lambda p: p['graph_module']['graph'].update(nodes='abc'),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_graphs_are_refused(file, kind):
    path, _ = file
    changed(path, 'models/model.json', HOSTILE[kind])
    with pytest.raises(UnreadableError):
        TorchGraph(path)


@pytest.mark.parametrize(
    'change',
    [
        lambda entry: entry.update(use_pickle=True),
        lambda entry: entry['tensor_meta'].update(dtype=6),
        lambda entry: entry['tensor_meta'].update(sizes=[{'as_int': 1 << 40}], strides=[{'as_int': 1}]),
        lambda entry: entry.update(path_name='../../models/model.json'),
    ],
)
def test_hostile_weights_are_refused(file, change):
    path, _ = file
    changed(path, 'model_weights_config.json', lambda config: change(next(iter(config['config'].values()))))
    with pytest.raises(UnreadableError):
        TorchGraph(path)


def test_no_pickle_is_read(file, monkeypatch):
    path, _ = file
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('a/data/constants/custom_obj_0', b'cos\nsystem\n(S"exit 1"\ntR.')
    for module, name in (('pickle', 'loads'), ('pickle', 'Unpickler'), ('torch', 'load'), ('torch.export', 'load')):
        monkeypatch.setattr(f'{module}.{name}', None)
    TorchGraph(path)
