"""A whole classifier is saved, copied and packed, and gives what it gave; docs/predict.md's ways for timm's habits."""

import copy
import io
import pickle

import joblib
import pytest
import torch
from mmengine.config import Config
from torch.package import PackageExporter, PackageImporter

import mmdensenet

NAME = 'densenet-bc-l22-k12_1xb32_digits'


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def packed(model):
    file = io.BytesIO()
    with PackageExporter(file) as exporter:
        exporter.extern('**')
        exporter.save_pickle('model', 'model.pkl', model)
    file.seek(0)
    return PackageImporter(file).load_pickle('model', 'model.pkl')


def dumped(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def pickled(model):
    """Through every protocol, one after the other."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        model = pickle.loads(pickle.dumps(model, protocol=protocol))
    return model


@pytest.mark.parametrize('way', [saved, packed, dumped, pickled, copy.deepcopy])
@pytest.mark.parametrize('channels_last', [False, True])
def test_a_whole_classifier(way, channels_last):
    cfg = Config.fromfile(mmdensenet.get_model(NAME)._config.filename)
    cfg.model.backbone.channels_last = channels_last
    model = mmdensenet.get_model(cfg)
    images = torch.rand(2, 1, 8, 8)
    again = way(model)
    assert torch.equal(again(images, mode='tensor'), model(images, mode='tensor'))
    assert again.backbone.memory_format == model.backbone.memory_format
    assert again._dataset_meta == model._dataset_meta


def test_features_of_every_stage_and_other_classes():
    cfg = mmdensenet.get_model(NAME)._config
    cfg.model.backbone.out_indices = (0, 1, 2)
    model = mmdensenet.get_model(cfg)
    sizes = [tuple(features.shape) for features in model.backbone(torch.rand(2, 1, 8, 8))]
    assert sizes == [(2, channels, side, side) for channels, side in zip(model.backbone.out_channels, (4, 2, 2))]
    assert mmdensenet.get_model(NAME, num_classes=3).head.fc.out_features == 3
