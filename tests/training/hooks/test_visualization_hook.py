"""Pictures of predictions have names of their own, and their own colours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.visualization import Visualizer
from mmpretrain.structures import DataSample

from mmdensenet.training.hooks.visualization_hook import VisualizationHook

PIXELS = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 2, 2)


@pytest.fixture
def make_hook():
    """A hook, and what it draws."""
    Visualizer.get_instance('pictures of a test')

    def make(**settings):
        drawn = []
        hook = VisualizationHook(enable=True, **settings)
        hook._visualizer = SimpleNamespace(visualize_cls=lambda **given: drawn.append(given))
        return hook, drawn

    return make


@pytest.mark.parametrize('augmented', [True, False])
@pytest.mark.parametrize('files', [True, False])
@pytest.mark.parametrize('to_rgb', [True, False])
def test_names_and_colours(to_rgb, files, augmented, tmp_path, make_hook):
    """Files are read as BGR, also where the model takes BGR."""
    hook, drawn = make_hook(interval=2, out_dir=str(tmp_path))
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=to_rgb), backbone=None)
    hook.before_run(SimpleNamespace(model=SimpleNamespace(module=model) if augmented else model))
    places = [(0, 'cat/0001.jpg'), (1, 'cat/0002.jpg'), (2, 'dog/0001.jpg')]
    samples = [DataSample(metainfo=dict(sample_idx=i, **({'img_path': path} if files else {}))) for i, path in places]
    hook._draw_samples(0, dict(inputs=[PIXELS] * 3), samples)
    names = ['000000_0001', '000002_0001'] if files else ['000000', '000002']
    assert [given['name'] for given in drawn] == names, 'every second one'
    for given in drawn:
        assert given['out_file'] == str(tmp_path / f'{given["name"]}.png')
        assert np.array_equal(given['image'][0, 0], [30, 20, 10] if to_rgb or files else [10, 20, 30])


@pytest.mark.parametrize('labels', [1, [0, 1], []])
def test_what_is_decided_is_drawn(labels, make_hook):
    hook, drawn = make_hook(interval=1)
    hook.before_run(SimpleNamespace(model=SimpleNamespace()))
    sample = DataSample(metainfo=dict(sample_idx=0)).set_pred_label(0).set_pred_score(torch.tensor([0.9, 0.1]))
    sample.set_field(labels, 'decided_label')
    sample.set_field(torch.tensor([0.7, 0.3]), 'calibrated_score')
    hook._draw_samples(0, dict(inputs=[PIXELS]), [sample])
    [given] = drawn
    assert given['data_sample'].pred_label.tolist() == ([labels] if labels == 1 else labels)
    assert given['data_sample'].pred_score.tolist() == pytest.approx([0.7, 0.3])
    assert sample.pred_label.tolist() == [0], 'the sample stays as it was'


def test_the_first_view_of_several_and_batches_without_images(make_hook):
    hook, drawn = make_hook(interval=1)
    hook.before_run(SimpleNamespace(model=SimpleNamespace()))
    first, second = PIXELS[None], PIXELS[None] + 100
    hook._draw_samples(0, dict(inputs=[first, second]), [DataSample(metainfo=dict(sample_idx=0))])
    hook._draw_samples(1, dict(inputs=[]), [])
    assert len(drawn) == 1 and drawn[0]['image'][0, 0].tolist() == [10, 20, 30]
