"""Structured reports are read back by highdicom and pydicom with what was predicted, of the right patient and image."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import write_dicom
from mmengine.config import Config

from mmdensenet import get_model
from mmdensenet.apis.dicom_sr import ModelIdentity, identify, write_dicom_sr
from mmdensenet.apis.fit.decide import decide
from mmdensenet.checkpoints.checkpoint_file import sha256
from mmdensenet.checkpoints.checkpoint_meta import hash_weights
from mmdensenet.errors import UserError
from mmdensenet.results.scores import Scores
from mmdensenet.version import __version__

pytest.importorskip('highdicom', reason='highdicom is not installed (the extra dicom)')
pydicom = pytest.importorskip('pydicom', reason='pydicom is not installed (the extra dicom)')

CONFIG = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdensenet.DenseNet', arch=dict(growth_rate=4, depths=[2, 2], init_channels=8), in_channels=1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
)
data_preprocessor = dict(num_classes=3, mean=[100.0], std=[60.0], to_rgb=False)
pipeline = [
    dict(type='mmdensenet.LoadGreyImage', window='full'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs'),
]
test_dataloader = dict(batch_size=2, dataset=dict(type='CustomDataset', pipeline=pipeline))
default_scope = 'mmpretrain'
"""
CLASSES = ['normal', 'Ödem \\ fluid', 'x' * 80]


def write_study(folder, study: int, images: int) -> list[str]:
    rng = np.random.default_rng(study)
    paths = []
    for i in range(images):
        uid = f'1.2.3.{study}.{i + 1}'
        tags = dict(PatientID=f'P{study}', PatientName=f'Doe^{study}', StudyInstanceUID=f'1.2.3.{study}')
        tags |= dict(SeriesInstanceUID=f'1.2.3.{study}.0', SOPClassUID='1.2.840.10008.5.1.4.1.1.7', SOPInstanceUID=uid)
        pixels = rng.integers(0, 65536, (40, 40), dtype=np.uint16)
        paths.append(write_dicom(folder / f'{study}_{i}.dcm', pixels, **tags))
    return paths


def read(file):
    """Strictly: every value fits its VR; and as highdicom understands it."""
    from highdicom import sr

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, 'reading_validation_mode', pydicom.config.RAISE)
        dataset = pydicom.dcmread(file)
        for element in dataset.iterall():
            assert element.value is not element
    return sr.ComprehensiveSR.from_dataset(dataset)


def contents(report) -> dict:
    """Return the values and the decisions of each image."""
    found = {}
    for group in report.content.get_image_measurement_groups():
        (image,) = group.source_images
        values = {m.name.meaning: m.value for m in group.get_measurements()}
        decided = {q.name.meaning: q.value.meaning for q in group.get_qualitative_evaluations()}
        found[image.referenced_sop_instance_uid] = values, decided
    return found


def test_the_command(tmp_path, run_tool):
    """Of two studies, each with its patient and its images."""
    folder = tmp_path / 'images'
    folder.mkdir()
    paths = write_study(folder, 5, 2) + write_study(folder, 6, 1)
    (tmp_path / 'chest.py').write_text(CONFIG)
    torch.manual_seed(0)
    model = get_model(Config.fromfile(tmp_path / 'chest.py'))
    torch.save(dict(meta=dict(dataset_meta=dict(classes=CLASSES)), state_dict=model.state_dict()), tmp_path / 'w.pth')
    arguments = ['--model', tmp_path / 'chest.py', '--checkpoint', tmp_path / 'w.pth', '--device', 'cpu']
    done = run_tool('predict.py', folder, *arguments, '--dicom-sr', tmp_path / 'sr')
    assert done.status == 0 and 'Structured reports of 2 studies' in done.out
    import mmdensenet

    scores = {
        f'1.2.3.{5 if "5_" in path else 6}.{int(path[-5]) + 1}': result
        for path, result in zip(paths, mmdensenet.inference(tmp_path / 'chest.py', paths, str(tmp_path / 'w.pth')))
    }
    names = ['normal', 'Ödem / fluid', 'x' * 64]
    total = {}
    for study in (5, 6):
        report = read(tmp_path / 'sr' / f'SR_1.2.3.{study}.dcm')
        assert (report.PatientID, report.PatientName, report.StudyInstanceUID) == (
            f'P{study}', f'Doe^{study}', f'1.2.3.{study}',
        )  # fmt: skip
        assert report.SOPClassUID == '1.2.840.10008.5.1.4.1.1.88.33' and report.VerificationFlag == 'UNVERIFIED'
        (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
        found = contents(report)
        referenced = [
            item.ReferencedSOPInstanceUID for item in evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence
        ]
        assert sorted(referenced) == sorted(found)
        total |= found
        text = (tmp_path / 'sr' / f'SR_1.2.3.{study}.dcm').read_bytes().decode('utf-8', 'replace')
        for words in (
            'chest',
            f'mmdensenet {__version__}',
            sha256(tmp_path / 'w.pth'),
            'uncalibrated',
            'Research use only',
        ):
            assert words in text
    assert total.keys() == scores.keys()
    for uid, (values, decided) in total.items():
        assert list(values) == names and np.allclose(list(values.values()), scores[uid]['pred_scores'], atol=1e-6)
        assert decided == {'Predicted class': names[scores[uid]['pred_label']]}


def test_several_labels_with_decisions(tmp_path):
    """Only what was decided on validation images is said to be present or absent."""
    rng = np.random.default_rng(0)
    truth = (rng.random((200, 3)) < 0.4).astype(float)
    truth[:, 2] = 0  # never there: no operating point
    logits = rng.normal(size=(200, 3)) + 2 * truth
    scores = Scores(1 / (1 + np.exp(-logits)), truth, np.arange(200), [''] * 200, ['A', 'B', 'C'], logits=logits)
    decisions = decide(scores)
    assert decisions.undecided == ['C']
    inferencer = SimpleNamespace(classes=['A', 'B', 'C'], multi_label=True, decisions=decisions)
    (path,) = write_study(tmp_path, 7, 1)
    result = dict(img_path=path, pred_scores=np.array([0.9, 0.1, 0.3]), pred_label=[0], ood=True, ood_score=3.0)
    (file,) = write_dicom_sr(tmp_path / 'sr', [result], inferencer, ModelIdentity('m', '1.0', 'f' * 64, 'the file'))
    report = read(file)
    values, decided = contents(report)['1.2.3.7.1']
    assert values == {'A': 0.9, 'B': 0.1, 'C': 0.3}
    assert decided == {'A': 'Present', 'B': 'Absent', 'Unlike the images of the validation': 'Yes'}
    text = file.read_bytes().decode('utf-8', 'replace')
    assert 'Scores are calibrated' in text and 'Left out: C' in text and 'SHA-256 of the file: ffff' in text
    inferencer.decisions = None
    del result['ood']
    (file,) = write_dicom_sr(tmp_path / 'sr', [result], inferencer, ModelIdentity('m', '1.0', 'f' * 64, 'the file'))
    assert contents(read(file))['1.2.3.7.1'][1] == {}


def test_what_cannot_be_reported(tmp_path, monkeypatch):
    inferencer = SimpleNamespace(classes=['a', 'b'], multi_label=False, decisions=None)
    identity = ModelIdentity('m', '1.0', 'f' * 64, 'the file')

    def refused(message, *paths, scores=(0.5, 0.5)):
        results = [dict(img_path=path, pred_scores=np.array(scores), pred_label=0) for path in paths]
        with pytest.raises(UserError, match=message):
            write_dicom_sr(tmp_path / 'sr', results, inferencer, identity)
        assert not (tmp_path / 'sr').exists()

    (path,) = write_study(tmp_path, 8, 1)
    (tmp_path / 'x.png').write_bytes(b'no')
    refused(r'x\.png is not a DICOM file', str(tmp_path / 'x.png'))
    bare = write_dicom(tmp_path / 'bare.dcm', np.zeros((4, 4), np.uint16))
    refused(r'bare\.dcm has no StudyInstanceUID', bare)
    refused('given twice', path, path)
    (tmp_path / 'copy.dcm').write_bytes((tmp_path / '8_0.dcm').read_bytes())
    refused(r'copy\.dcm is the same instance as .*8_0\.dcm', path, str(tmp_path / 'copy.dcm'))
    refused(r'8_0\.dcm are not finite', path, scores=(np.nan, 0.5))
    monkeypatch.setitem(__import__('sys').modules, 'highdicom', None)
    monkeypatch.setitem(__import__('sys').modules, 'highdicom.sr', None)
    refused('pip install highdicom', path)


def test_the_hash_without_a_file():
    layer = torch.nn.Linear(2, 2)
    inferencer = SimpleNamespace(model=layer)
    found = identify(inferencer, 'densenet121')
    assert found == ModelIdentity('densenet121', __version__, hash_weights(layer.state_dict()), 'the weights')
