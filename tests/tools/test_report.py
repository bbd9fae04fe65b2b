"""The page: self-contained, escaped, with the numbers of tools/test.py; for few, many and missing classes."""

import csv
import html
import json
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, write_images
from helpers import randomise
from PIL import Image

import mmdensenet
from mmdensenet.errors import UserError

HOSTILE = '<script>alert(1)</script>'

MODEL = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdensenet.DenseNet', stem='cifar', in_channels={channels},
                  arch=dict(growth_rate=4, depths=(1, 2), init_channels=8)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type={head!r}, num_classes={classes}, in_channels=14, {more}),
)
data_preprocessor = dict(num_classes={classes}, mean={mean}, std={mean}, to_rgb={channels} == 3)
default_scope = 'mmpretrain'
test_cfg = dict()
"""
FOLDER = """
test_dataloader = dict(batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
    type='CustomDataset', data_root={root!r},
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy', topk=(1,))
"""
CSV = """
test_dataloader = dict(batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
    type='mmdensenet.CSVDataset', ann_file={file!r}, data_root={root!r}, label_columns={labels!r},
    uncertain='ignore', missing='ignore', group_column='patient',
    pipeline=[dict(type='mmdensenet.LoadGreyImage', window='full'), dict(type='PackInputs')]))
test_evaluator = dict(type='mmdensenet.RankingMetric')
"""


class Page(HTMLParser):
    """Everything that a browser would fetch or run, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.references, self.texts, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ('src', 'href', 'srcset', 'action', 'data', 'poster', 'xlink:href', 'background'):
                self.references.append(value)
            assert not name.startswith('on'), f'{tag} has {name}'
            if name == 'id':
                self.ids.append(value)

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r'\s+', ' ', ' '.join(self.texts))


def read(file) -> Page:
    """The page, after a look at whether it needs anything else."""
    text = file.read_text()
    page = Page(text)
    assert not {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'} & set(page.tags)
    for reference in page.references:
        assert reference.startswith(('data:image/', '#')), reference
        assert not reference.startswith('#') or reference[1:] in page.ids
    style = text[text.index('<style>') : text.index('</style>')]
    assert 'url(' not in style and '@import' not in style and '@font-face' not in style
    assert 'http://' not in style and 'https://' not in style
    assert not re.search(r'summary[^{}]*{[^}]*display: none', style), 'what is folded away is there in print'
    assert "default-src 'none'" in text
    for anchor in ('model', 'metrics', 'classes', 'confusion', 'calibration', 'curves', 'errors', 'training', 'cost'):
        assert anchor in page.ids
    for folder in (tempfile.gettempdir(), str(Path.home()), str(ROOT)):
        assert f'{folder}/' not in page.text, 'a page is sent to others, without the folders of this machine'
    assert 'nan' not in re.findall(r'[a-z]+', page.text.split('Config')[0].lower()), 'what is not defined is a dash'
    return page


def weights(config, file, classes=None) -> str:
    model = randomise(mmdensenet.get_model(str(config)))
    meta = dict(epoch=3, dataset_meta=dict(classes=classes), time='20260131_235900')
    meta['mmengine_version'] = '0.10.78db5bb76fc67cd2c7fefb35e9f1ee7f3403d23db'  # 0.10.7, and a commit
    torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
    return str(file)


def folder_config(tmp_path, classes: int, root):
    more = "loss=dict(type='CrossEntropyLoss'), topk=(1,)"
    file = tmp_path / 'config.py'
    file.write_text(
        MODEL.format(head='LinearClsHead', classes=classes, more=more, channels=3, mean=[120.0] * 3)
        + FOLDER.format(root=str(root))
    )
    return file


def page_of(check_tool, config, checkpoint, tmp_path, *more) -> Page:
    out = tmp_path / 'out' / 'page.html'
    done = check_tool('report.py', config, checkpoint, '--out', out, '--no-measure', '--bootstrap', '50', *more)
    assert f'The report is in {out}' in done.out
    return read(out)


def test_numbers_are_those_of_the_test(run_tool, tmp_path):
    images = write_images(tmp_path / 'images', classes=3, per_class=8)
    config = folder_config(tmp_path, 3, images)
    checkpoint = weights(config, tmp_path / 'w.pth')
    file = tmp_path / 'p.npz'
    done = run_tool('test.py', config, checkpoint, '--work-dir', tmp_path / 'work', '--out', file)
    top1 = float(re.search(r'^accuracy/top1: ([\d.]+)', done.out, re.MULTILINE)[1])
    page = page_of(run_tool, config, checkpoint, tmp_path)
    assert f'top-1 accuracy {top1:.2f}' in page.text
    assert f'accuracy/top1 {top1:.4f}' in page.text, "the evaluator's own number"
    assert '3 epochs, until 2026-01-31 23:59' in page.text and 'class_2' in page.text
    assert 'mmengine 0.10.7 ' in page.text
    with np.load(file) as saved:
        truth, predicted = saved['gt_label'], saved['pred_score'].argmax(1)
    errors = int((predicted != truth).sum())
    for true in range(3):
        taken = np.bincount(predicted[truth == true], minlength=3)
        others = sorted((other for other in range(3) if other != true and taken[other]), key=lambda o: (-taken[o], o))
        words = ''.join(f'class_{other} ({taken[other]}), ' for other in others).removesuffix(', ')
        assert f'class_{true} {100 * taken[true] / 8:.1f} % {words} '.replace('  ', ' ') in page.text
    pictures = [reference for reference in page.references if reference.startswith('data:')]
    assert len(pictures) == 2 * min(errors, 12) > 0, 'each with its activation map'
    assert len(set(pictures)) == len(pictures)
    again = page_of(run_tool, config, checkpoint, tmp_path, '--predictions', file)
    assert f'top-1 accuracy {top1:.2f}' in again.text
    assert 'accuracy/top1' not in again.text, 'the evaluator did not run'


def test_names_are_escaped(run_tool, tmp_path):
    """A class that is named like a script, in tables, charts, captions and the config's text."""
    images = write_images(tmp_path / 'images', classes=2, per_class=12)
    (images / 'class_0').rename(images / '"><img src=x onerror=alert(2)>')
    names = [HOSTILE, '</title></svg><script>alert(3)</script>']
    config = folder_config(tmp_path, 2, images)
    text = config.read_text().replace('data_root=', f'metainfo=dict(classes={names!r}), data_root=')
    config.write_text(text + f'\nnote = {HOSTILE!r}\n')
    checkpoint = weights(config, tmp_path / '<b>w.pth')
    predictions = tmp_path / 'p.json'
    places = sorted(path for path in images.rglob('*.*') if path.is_file())
    rng = np.random.default_rng(0)
    records = [
        dict(img_path=f'/x/<script>alert(4)/{path.name}', sample_idx=i, gt_label=i // 12, pred_score=score.tolist())
        for i, (path, score) in enumerate(zip(places, rng.dirichlet([1, 1], 24)))
    ]
    predictions.write_text(json.dumps(records))
    page = page_of(run_tool, config, checkpoint, tmp_path, '--predictions', predictions)
    assert page.text.count('alert(1)') >= 4 and 'alert(4)' in page.text
    assert 'img' in page.tags and '<b>w.pth' in page.text
    assert html.escape(HOSTILE) in (tmp_path / 'out' / 'page.html').read_text()


@pytest.mark.parametrize('labels', [['Edema', 'Mass', HOSTILE, 'never', 'unknown']])
def test_several_labels(run_tool, tmp_path, labels):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(tmp_path / f'{i}.png')
        known = [str(rng.integers(2)) if rng.random() < 0.8 else rng.choice(['', '-1']) for _ in range(3)]
        rows.append([f'{i}.png', f'p{i // 3}', *known, '0', ''])
    with open(tmp_path / 'labels.csv', 'w', newline='') as file:
        csv.writer(file).writerows([['image', 'patient', *labels], *rows])
    config = tmp_path / 'config.py'
    loss = "loss=dict(type='mmdensenet.MaskedBCELoss'), thr=0.4"
    config.write_text(
        MODEL.format(head='MultiLabelLinearClsHead', classes=5, more=loss, channels=1, mean=[120.0])
        + CSV.format(file=str(tmp_path / 'labels.csv'), root=str(tmp_path), labels=labels)
    )
    checkpoint = weights(config, tmp_path / 'w.pth')
    done = run_tool('test.py', config, checkpoint, '--work-dir', tmp_path / 'work')
    page = page_of(run_tool, config, checkpoint, tmp_path)
    auroc = float(re.search(r'^auroc/macro: ([\d.]+)', done.out, re.MULTILINE)[1])
    shown = float(re.search(r'macro AUROC ([\d.]+)', page.text)[1])
    assert shown == pytest.approx(100 * auroc, abs=0.011)
    assert re.search(r'macro recall \d.* macro specificity \d', page.text) and 'sensitivity' in page.text
    assert 'threshold of 0.4' in page.text and '10, such as patients' in page.text
    known = sum(field in '01' and field != '' for row in rows for field in row[2:])
    assert f'{known} of 150' in page.text
    cells = [f'{present}' for present in (sum(row[2] == '1' for row in rows),)]
    assert re.search(rf'Edema {cells[0]} ', page.text)
    assert any(reference.startswith('data:image/png') for reference in page.references)


def test_two_classes_all_right_and_none_there(run_tool, tmp_path):
    """A class without images, one with a single one, and no error at all."""
    images = write_images(tmp_path / 'images', classes=1, per_class=3)
    for label in (1, 2):
        (images / f'class_{label}').mkdir()
    config = folder_config(tmp_path, 3, images)
    checkpoint = weights(config, tmp_path / 'w.pth')
    predictions = tmp_path / 'p.json'
    predictions.write_text(json.dumps([dict(sample_idx=i, gt_label=0, pred_score=[0.9, 0.06, 0.04]) for i in range(3)]))
    page = page_of(run_tool, config, checkpoint, tmp_path, '--predictions', predictions, '--bootstrap', '0')
    assert 'makes no error' in page.text and '2 without images' in page.text
    assert 'too few images to fit a temperature' in page.text
    assert 'for none has images both with and without it' in page.text
    assert 'There is no log of a training' in page.text


@pytest.mark.slow
def test_a_thousand_classes_with_one_image_each(run_tool, tmp_path):
    images = tmp_path / 'images'
    rng = np.random.default_rng(0)
    for label in range(1000):
        (images / f'n{label:04}').mkdir(parents=True)
        if label < 20:
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(images / f'n{label:04}' / 'a.png')
        else:
            (images / f'n{label:04}' / 'a.png').symlink_to(images / f'n{label % 20:04}' / 'a.png')
    config = folder_config(tmp_path, 1000, images)
    checkpoint = weights(config, tmp_path / 'w.pth')
    predictions = tmp_path / 'p.npz'
    scores = rng.dirichlet(np.full(1000, 0.02), 1000).astype(np.float32)
    np.savez(predictions, sample_idx=np.arange(1000), gt_label=np.arange(1000), pred_score=scores)
    page = page_of(run_tool, config, checkpoint, tmp_path, '--predictions', predictions, '--gallery', '3')
    assert 'the other 980' in page.text and '20 neighbouring classes share' in page.text
    assert 'the 6 with the lowest average precision' in page.text
    assert (tmp_path / 'out' / 'page.html').stat().st_size < 4 * 2**20


@pytest.mark.slow
def test_curves_and_measurements(check_tool, short_config, tmp_path):
    """The whole way: trained, with its log, measured on this machine."""
    config = short_config()
    check_tool('train.py', config, '--work-dir', tmp_path / 'run')
    out = tmp_path / 'page.html'
    args = ('--out', out, '--bootstrap', '20', '--gallery', '1')
    done = check_tool('report.py', config, tmp_path / 'run' / 'epoch_2.pth', *args)
    page = read(out)
    assert 'accuracy/top1' in page.text and 'learning rate' in page.text
    assert re.search(r'batch of 1 [\d,.]+ [\d,.]+ ms', page.text)
    assert page.text.count('measured') >= 2
    for text in (done.out, page.text):
        assert re.search(r'inference \d+\.\d s, all else \d+\.\d s: metrics \d', text)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--out', 'page.txt'), 'must end in .html or .htm'),
        (('--out', 'images/class_0/0.jpg/page.html'), 'cannot be written'),
        (('--device', 'abacus'), "device 'abacus' cannot be used here"),
        (('--bootstrap', '-1'), 'give 0 or more'),
        (('--seed', '-1'), 'give 0 or more'),
        (('--predictions', 'none.npz'), 'predictions none.npz do not exist'),
        (('--work-dir', 'nowhere'), '--work-dir nowhere does not exist'),
    ],
)
def test_mistakes(run_tool, tmp_path, monkeypatch, args, message):
    images = write_images(tmp_path / 'images', classes=2, per_class=1)
    config = folder_config(tmp_path, 2, images)
    checkpoint = weights(config, tmp_path / 'w.pth')
    monkeypatch.chdir(tmp_path)
    done = run_tool('report.py', config, checkpoint, '--no-measure', '--bootstrap', '5', *args)
    assert done.status == 2 and message in done.err


def test_a_model_that_gives_nan(run_tool, tmp_path):
    images = write_images(tmp_path / 'images', classes=2, per_class=1)
    config = folder_config(tmp_path, 2, images)
    checkpoint = weights(config, tmp_path / 'w.pth')
    content = torch.load(checkpoint)
    content['state_dict']['head.fc.bias'][0] = float('nan')
    torch.save(content, checkpoint)
    done = run_tool('report.py', config, checkpoint, '--no-measure', '--out', tmp_path / 'page.html')
    assert done.status == 2
    assert f'error: {checkpoint}: the scores of 2 of 2 images are not all numbers' in done.err


def test_predictions_of_another_data_set(run_tool, tmp_path):
    images = write_images(tmp_path / 'images', classes=2, per_class=1)
    config = folder_config(tmp_path, 2, images)
    file = tmp_path / 'p.json'
    file.write_text(json.dumps([dict(sample_idx=9, gt_label=0, pred_score=[0.5, 0.5])]))
    done = run_tool('report.py', config, weights(config, tmp_path / 'w.pth'), '--predictions', file)
    assert done.status == 2 and 'is of another data set' in done.err


def test_predictions_from_before_an_image_was_removed(run_tool, tmp_path):
    images = write_images(tmp_path / 'images', classes=2, per_class=2)
    config = folder_config(tmp_path, 2, images)
    checkpoint, file = weights(config, tmp_path / 'w.pth'), tmp_path / 'p.json'
    rest = ('--predictions', file, '--no-measure', '--bootstrap', '0', '--gallery', '0', '--out', tmp_path / 'r.html')
    places = sorted(path for path in images.rglob('*.*') if path.is_file())
    rows = [
        dict(sample_idx=i, img_path=f'D:\\moved\\{path.stem}.tif', gt_label=i // 2, pred_score=[0.5, 0.5])
        for i, path in enumerate(places)
    ]
    file.write_text(json.dumps(rows[::-1]))
    assert run_tool('report.py', config, checkpoint, *rest).status == 0, 'rows in another order, of another folder'
    places[0].unlink()
    file.write_text(json.dumps(rows[:3]))
    done = run_tool('report.py', config, checkpoint, *rest)
    assert done.status == 2 and f'its image 0 is {places[0].stem!r}, here it is {places[1].stem!r}' in done.err


def test_without_the_library_of_activation_maps(run_tool, tmp_path, monkeypatch):
    from mmdensenet.analysis import cam

    def missing():
        raise UserError('activation maps need grad-cam. Run: pip install "mmdensenet[see]"')

    monkeypatch.setattr(cam, 'require_grad_cam', missing)
    images = write_images(tmp_path / 'images', classes=3, per_class=4)
    config = folder_config(tmp_path, 3, images)
    page = page_of(run_tool, config, weights(config, tmp_path / 'w.pth'), tmp_path)
    assert 'No activation maps: activation maps need grad-cam' in page.text
    assert any(reference.startswith('data:') for reference in page.references)
