"""Weights of Keras give the logits of the same network, with its epsilon."""

import numpy as np
import pytest
import torch
from foreign_models import CLASSES, DEPTHS, GROWTH, INIT, ours
from mmengine.config import Config

pytest.importorskip('h5py', reason='h5py is not installed (the extra keras)')
from keras_files import EPSILON, keras_network, layers_of, network_and_images, write_named, write_numbered

from mmdensenet import get_model
from mmdensenet.convert import convert_checkpoint, convert_state_dict, read_checkpoint
from mmdensenet.errors import UserError

WRITERS = {
    '2018.h5': lambda file, layers: write_named(file, layers, whole=False, old=True),
    'whole.h5': lambda file, layers: write_named(file, layers, whole=True, old=True),
    'keras3.hdf5': lambda file, layers: write_named(file, layers, whole=True, old=False),
    'inside.h5': lambda file, layers: write_named(file, layers, whole=True, old=False, inside='densenet121'),
    'new.weights.h5': write_numbered,
    'new.keras': write_numbered,
    'first.keras': lambda file, layers: write_numbered(file, layers, named=False),
}


@pytest.mark.parametrize('name', WRITERS)
def test_same_logits(tmp_path, name):
    theirs, images = network_and_images()
    WRITERS[name](tmp_path / name, layers_of(theirs))
    converted, report = convert_state_dict(read_checkpoint(str(tmp_path / name)))
    assert report.layout.name == report.library == 'Keras' and not report.left and not report.missing
    assert report.architecture.backbone()['norm_cfg'] == dict(type='BN', eps=EPSILON)
    assert any('epsilon' in note for note in report.notes)
    with torch.no_grad():
        expected = theirs.double()(images)
        actual = ours(report, converted, dtype=torch.float64)(images)
    assert expected.std() > 0.01 and (actual - expected).abs().max() < 1e-11 * expected.abs().max()


@pytest.mark.parametrize('ending', ['.h5', '.pth', '.safetensors'])
def test_a_model_of_another_epsilon(tmp_path, ending):
    """Straight from Keras' file, and from a converted one, which states the epsilon."""
    theirs, images = network_and_images()
    source = tmp_path / 'theirs.h5'
    write_named(source, layers_of(theirs), whole=False, old=False)
    file = tmp_path / f'ours{ending}' if ending != '.h5' else source
    if ending != '.h5':
        assert "Keras' epsilon" in convert_checkpoint(str(source), str(file), verify=[]).verified
    arch = dict(growth_rate=GROWTH, depths=DEPTHS, init_channels=INIT)
    head = dict(type='LinearClsHead', num_classes=CLASSES, in_channels=theirs.classifier.in_features)
    for norm in ({}, dict(norm_cfg=dict(type='BN', eps=EPSILON))):
        model = get_model(
            Config(
                dict(
                    default_scope='mmpretrain',
                    model=dict(
                        type='ImageClassifier',
                        backbone=dict(type='mmdensenet.DenseNet', arch=arch, **norm),
                        neck=dict(type='GlobalAveragePooling'),
                        head=head,
                    ),
                )
            ),
            str(file),
        ).eval()
        with torch.no_grad():
            actual = model.head(model.extract_feat(images.float()))
            expected = theirs.float()(images.float())
        assert (actual - expected).abs().max() < 1e-4 * expected.abs().max().clamp(min=1)
        # with the wrong epsilon the difference would be larger than any rounding
        assert model.backbone.stem[1].running_var.equal(theirs.features.norm0.running_var) == bool(norm)


def test_a_head_of_an_own_model(tmp_path):
    layers = layers_of(keras_network())
    layers['dense'] = layers.pop('predictions')
    write_named(tmp_path / 'own.h5', layers, whole=True, old=False)
    assert convert_state_dict(read_checkpoint(str(tmp_path / 'own.h5')))[1].architecture.num_classes == CLASSES
    layers['dense_1'] = dict(kernel=np.zeros((CLASSES, 2), np.float32))
    write_named(tmp_path / 'two.h5', layers, whole=True, old=False)
    with pytest.raises(UserError, match=r'left: dense\.weight, dense\.bias, dense_1\.weight'):
        convert_state_dict(read_checkpoint(str(tmp_path / 'two.h5')))
    _, report = convert_state_dict(read_checkpoint(str(tmp_path / 'two.h5')), partial=True)
    assert report.architecture.num_classes is None


@pytest.mark.parametrize('inside', ['', 'densenet121'])
def test_a_norm_before_the_head(tmp_path, inside):
    """It is beside the network in the file, and the logits depend on it."""
    layers = layers_of(keras_network())
    layers['batch_normalization'] = {name: np.ones(10, np.float32) for name in layers['bn']}
    file = tmp_path / 'own.h5'
    write_named(file, layers, whole=True, old=False, inside=inside)
    with pytest.raises(UserError, match=r'missing: none; left: batch_normalization\.weight, '):
        convert_state_dict(read_checkpoint(str(file)))
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='mmdensenet.DenseNet', arch=dict(growth_rate=GROWTH, depths=DEPTHS, init_channels=INIT)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=layers['predictions']['kernel'].shape[0]),
    )
    with pytest.raises(
        UserError, match=r'tensors that this model does not have: backbone\.batch_normalization\.weight'
    ):
        get_model(Config(dict(default_scope='mmpretrain', model=model)), str(file))
    del layers['predictions']
    write_named(file, layers, whole=True, old=False, inside=inside)
    if inside:
        assert 'batch_normalization.bias' in convert_state_dict(read_checkpoint(str(file)))[1].elsewhere
