"""Logits of a conversion are compared with those of the library."""

import pytest
import torch
from foreign_models import MODELS_OF, published_forms, randomise, torchvision_model

from mmdensenet.convert import convert_checkpoint, convert_state_dict
from mmdensenet.errors import UserError


@pytest.mark.parametrize('library', [*MODELS_OF, 'efficient', 'chexnet'])
def test_verify(library, tmp_path):
    if library in MODELS_OF:
        state = randomise(MODELS_OF[library]()).state_dict()
    else:
        forms = published_forms(randomise(torchvision_model()).state_dict())
        state = forms['CheXNet' if library == 'chexnet' else 'efficient_densenet_pytorch, fused'][0]
    torch.save(state, tmp_path / 'theirs.pth')
    report = convert_checkpoint(str(tmp_path / 'theirs.pth'), str(tmp_path / 'ours.pth'), verify=[])
    names = dict(monai='MONAI', mmpretrain='mmpretrain')
    assert f'from {names.get(library, "torchvision")} ' in report.verified
    assert float(report.verified.split('at most ')[1].split()[0]) < 1e-4


def test_verify_on_images(image_folder, source, tmp_path):
    images = [str(image_folder / 'class_0/0.jpg'), str(image_folder / 'class_1/1.jpg')]
    assert '2 images' in convert_checkpoint(str(source), str(tmp_path / 'o.pth'), verify=images).verified


def test_verify_finds_wrong_weights(source, tmp_path, monkeypatch):
    """Of a conversion that mixes up two norms."""
    from mmdensenet.convert import verify_conversion as verify

    def wrong(*args, **kwargs):
        state, report = convert_state_dict(*args, **kwargs)
        a, b = 'backbone.stages.0.block.0.norm2.bias', 'backbone.stages.0.block.1.norm2.bias'
        return {**state, a: state[b], b: state[a]}, report

    monkeypatch.setattr(verify, 'convert_state_dict', wrong)
    with pytest.raises(UserError, match='`verify` failed: the logits differ'):
        convert_checkpoint(str(source), str(tmp_path / 'o.pth'), verify=[])
    assert not (tmp_path / 'o.pth').exists()
