"""tools/visualize.py: the pictures are there, of their size, not blank, and show what they should."""

import json

import numpy as np
import pytest
import torch
from conftest import write_images
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.ndimage import binary_erosion
from sklearn.datasets import load_digits

from mmdensenet.analysis import cam
from mmdensenet.apis import get_model
from mmdensenet.datasets import Digits
from mmdensenet.results.figures import COLOURS


@pytest.fixture
def model(short_config, tmp_path):
    """A config for few digits and a checkpoint of random weights: ``config, checkpoint``."""
    config = short_config()
    torch.manual_seed(0)
    checkpoint = tmp_path / 'random.pth'
    torch.save(dict(state_dict=get_model(str(config)).state_dict()), checkpoint)
    return config, checkpoint


@pytest.fixture
def draw(check_tool, tmp_path):
    """Run a command and return its picture, (H, W, 3), and what it printed."""

    def run(command, *args):
        file = tmp_path / f'pictures/{command}.png'
        done = check_tool('visualize.py', command, *args, '--out', file)
        assert done.out.endswith(f'The picture is {file}\n')
        with Image.open(file) as image:
            assert image.format == 'PNG'
            picture = np.asarray(image.convert('RGB'))
        assert picture.std() > 5, 'blank'
        for border in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
            assert (border == 255).mean() > 0.9, 'something is cut off'
        return picture, done.out

    return run


def share(picture, colour, tolerance=6):
    """Return the share of the picture that has this colour."""
    return matches(picture, colour, tolerance).mean()


def matches(picture, colour, tolerance=6):
    return np.abs(picture.astype(int) - np.round(255 * np.array(to_rgb(colour)))).max(2) <= tolerance


def panels(picture):
    """Count the columns and rows of pictures: areas without white, higher than a line of text."""
    inked = (picture < 250).any(2)
    counts = []
    for axis in (0, 1):
        edges = np.diff(np.concatenate([[0], inked.mean(axis) > 0.2, [0]]).astype(int))
        lengths = np.nonzero(edges == -1)[0] - np.nonzero(edges == 1)[0]
        counts.append(int((lengths > 60).sum()))
    return tuple(counts)


def test_data(draw, model):
    picture, _ = draw('data', model[0], '--images', '2', '--draws', '3', '--seed', '1')
    assert picture.shape[1] == 780  # four pictures of 1.9 inches, and 0.2
    assert panels(picture) == (4, 2)
    grey = (picture == picture[..., :1]).all(2)
    assert grey.mean() > 0.99
    assert share(picture, 'black') > 0.2  # the digits' background


def test_data_by_indices(draw, model):
    picture, _ = draw('data', model[0], '--indices', '3', '5', '8', '--draws', '1')
    assert panels(picture) == (2, 3)


def test_schedule(draw, model):
    picture, _ = draw('schedule', model[0])
    assert picture.shape == (600, 700, 3)
    line = matches(picture, COLOURS[0], 40)[:300]  # the rate, which falls after the first of two epochs
    left, right = line[:, 100:350], line[:, 420:680]
    assert left.any() and right.any()
    assert np.nonzero(left)[0].mean() + 50 < np.nonzero(right)[0].mean()
    momentum = np.nonzero(matches(picture, COLOURS[0], 40)[320:])[0]
    assert np.ptp(momentum) <= 3, 'it is constant'


def test_curves(draw, tmp_path):
    folders = []
    for i, name in enumerate(('first', 'second')):
        folder = tmp_path / name / 'run/vis_data'
        folder.mkdir(parents=True)
        lines = [dict(lr=0.1, loss=(i + 1) / step, step=step, epoch=1) for step in range(1, 9)]
        lines.append({'accuracy/top1': 90.0 + i, 'step': 1})
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
        folders.append(tmp_path / name)
    picture, _ = draw('curves', *folders)
    assert picture.shape == (388, 960, 3)
    for colour in COLOURS[:2]:
        seen = matches(picture, colour, 20)
        assert seen[:320, :480].any() and seen[:320, 480:].any() and seen[330:].any(), 'both panels and the legend'
    loss = [np.nonzero(matches(picture, colour, 20)[:320, :480])[0].mean() for colour in COLOURS[:2]]
    assert loss[1] < loss[0], 'the larger loss is above'
    one, _ = draw('curves', *folders, '--metrics', 'loss', '--names', 'a', 'b')
    assert one.shape[1] == 500


@pytest.fixture
def digit_files(tmp_path):
    folder = tmp_path / 'digits'
    folder.mkdir()
    for i, image in enumerate(load_digits().images[:2]):
        Image.fromarray((image * 15).astype(np.uint8)).save(folder / f'{i}.png')
    return folder


def test_cam(draw, model, digit_files):
    pytest.importorskip('pytorch_grad_cam', reason='grad-cam is not installed')
    picture, _ = draw('cam', *model, digit_files)
    assert picture.shape[1] == 830
    assert panels(picture) == (3, 2)
    bar = [matches(picture[:, 740:], to_rgb(cam.COLOURS(value)), 3).any() for value in (0.0, 0.5, 1.0)]
    assert all(bar), 'a scale of its colours'
    columns = [picture[30:, 20:220], picture[30:, 265:470], picture[30:, 510:720]]
    coloured = [(np.ptp(column.astype(int), axis=2) > 20).mean() for column in columns]
    assert coloured[0] == 0, 'the image is grey'
    assert min(coloured[1:]) > 0.05, 'its maps are not'


def test_cam_of_a_class_and_a_layer(draw, model, digit_files):
    pytest.importorskip('pytorch_grad_cam', reason='grad-cam is not installed')
    args = ('--methods', 'gradcam', '--layer', 'backbone.stages.0', '--class')
    one, _ = draw('cam', *model, digit_files / '0.png', *args, '3')
    other, _ = draw('cam', *model, digit_files / '0.png', *args, '4')
    assert one.shape == other.shape
    assert (one[40:, :240] == other[40:, :240]).all()
    assert (one[40:, 260:] != other[40:, 260:]).any()


def test_confusion(draw, check_tool, model, tmp_path):
    config, checkpoint = model
    picture, out = draw('confusion', *model)
    assert picture.shape == (740, 880, 3)
    empty = to_rgb(colormaps['Blues'](0)[:3])
    assert share(picture, empty, 2) > 0.2  # most cells of 10 x 10 have nothing of 20 images
    printed = [line for line in out.splitlines() if line.startswith('true ')]
    file = tmp_path / 'predictions.npz'
    check_tool('test.py', config, checkpoint, '--work-dir', tmp_path / 'w', '--out', file)
    again, out = draw('confusion', config, '--predictions', file)
    assert (again == picture).all()
    assert [line for line in out.splitlines() if line.startswith('true ')] == printed
    with np.load(file) as arrays:
        wrong = [(t, p) for t, p in zip(arrays['gt_label'], arrays['pred_label']) if t != p]
    most = max(wrong.count(pair) for pair in wrong)
    assert printed[0].endswith(f': {most}')
    numbers, _ = draw('confusion', config, '--predictions', file, '--normalise', 'none')
    assert (numbers != picture).any()


def test_confusion_of_several_labels(draw, run_tool, short_config, tmp_path):
    write_images(tmp_path, classes=1, per_class=6, size=8)
    rows = [f'class_0/{i}.jpg,{i % 2},{"" if i == 3 else 1}' for i in range(6)]
    (tmp_path / 'labels.csv').write_text('\n'.join(['image,Edema,Effusion', *rows]))
    data = f"""dict(_delete_=True, batch_size=2, num_workers=0, persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(type='mmdensenet.CSVDataset',
    data_root={str(tmp_path)!r}, ann_file='labels.csv', label_columns=['Edema', 'Effusion'], missing='ignore',
    serialize_data=False,
    pipeline=[dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')]))"""
    config = short_config(
        f"""
model.update(head=dict(_delete_=True, type='MultiLabelLinearClsHead', num_classes=2, in_channels=14))
train_dataloader = {data}
val_dataloader = {data}
test_dataloader = {data}
val_evaluator = dict(_delete_=True, type='mmdensenet.RankingMetric')
test_evaluator = dict(_delete_=True, type='mmdensenet.RankingMetric')
data_preprocessor = dict(num_classes=2)
"""
    )
    checkpoint = tmp_path / 'random.pth'
    torch.save(dict(state_dict=get_model(str(config)).state_dict()), checkpoint)
    picture, _ = draw('confusion', config, checkpoint)
    assert picture.shape == (252, 720, 3)
    assert panels(draw('data', config, '--images', '2', '--draws', '1')[0]) == (2, 2)
    embedded, _ = draw('embedding', config, checkpoint, '--images', '6')
    assert embedded.shape[0] == 600
    pytest.importorskip('pytorch_grad_cam', reason='grad-cam is not installed')
    cam, _ = draw('cam', config, checkpoint, tmp_path / 'class_0/0.jpg', '--class', 'Effusion')
    assert panels(cam) == (3, 1)


def test_embedding(draw, model):
    picture, _ = draw('embedding', *model, '--split', 'train', '--images', '24')
    assert picture.shape[0] == 600
    pale = [0.75 * np.array(to_rgb(colour)) + 0.25 for colour in COLOURS]
    points = [matches(picture[:, :560], colour, 3).sum() for colour in pale]
    digits = Digits(indices=24)
    present = len({digits.get_data_info(i)['gt_label'] for i in range(24)})
    assert [count > 5 for count in points] == [True] * present + [False] * (10 - present), points


def test_reuse(draw, model):
    picture, _ = draw('reuse', *model)
    assert picture.shape == (540, 940, 3)  # two blocks
    grey = binary_erosion(matches(picture, '0.85', 1), iterations=3)  # what a layer cannot read; not text
    first, second = grey[:, :420], grey[:, 420:]
    assert first.sum() / second.sum() == pytest.approx((1 / 4) / (3 / 9), rel=0.05), 'of 2x2 and 3x3 cells'
    for block in (first, second):
        rows, columns = np.nonzero(block)
        assert rows.mean() > 270 and columns.mean() < 200, 'below the diagonal'
    yellow = matches(picture, to_rgb(colormaps['viridis'](1.0)[:3]), 3)
    assert yellow[:, :380].any() and yellow[:, 450:850].any(), 'each reader has a largest weight'


def test_another_format(check_tool, model, tmp_path):
    file = tmp_path / 'reuse.svg'
    check_tool('visualize.py', 'reuse', *model, '--out', file)
    assert '<svg' in file.read_text()[:1000]


def test_mistakes_are_named(run_tool, model, short_config, tmp_path):
    config, checkpoint = model
    no_test = short_config('test_dataloader = test_cfg = test_evaluator = None', 'no_test.py')
    (tmp_path / 'folder.png').mkdir()
    for args, message in [
        (('schedule', config, '--out', 'x.jpg'), '--out x.jpg: the name must end in .png or .svg or .pdf.'),
        (('confusion', config, checkpoint, '--out', tmp_path / 'folder.png'), 'cannot be written (Is a directory)'),
        (('embedding', config, checkpoint, '--perplexity', '0'), 'perplexity 0: give more than 0'),
        (('embedding', config, checkpoint, '--classes', '0'), '1000 images of 0 classes'),
        (('data', config, '--seed', '-1'), 'seed -1: give'),
        (('cam', no_test, checkpoint, tmp_path / 'x.png'), 'the config has no test_dataloader.dataset.pipeline, which'),
        (('embedding', no_test, checkpoint, '--split', 'train'), 'the config has no test_dataloader, whose pipeline'),
        (('confusion', config), 'give a checkpoint to test, or --predictions FILE'),
        (('confusion', config, '--predictions', tmp_path / 'x.npz'), 'x.npz do not exist'),
        (('cam', config, checkpoint, tmp_path / 'x.png'), 'x.png does not exist'),
        (('reuse', config, tmp_path / 'x.pth'), 'x.pth does not exist'),
        (('data', tmp_path / 'x.py'), 'x.py does not exist'),
        (('curves', tmp_path / 'x'), 'x is not a folder'),
        (('data', config, '--cfg-options', 'x.y=1'), "the config has no 'x'"),
        (('data', config, '--draws', '100'), '101 pictures beside and 4 below each other do not fit: draw'),
    ]:
        done = run_tool('visualize.py', *args)
        assert done.status == 2
        assert message in done.err
        assert 'Traceback' not in done.err
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / 'black.png')
    done = run_tool('visualize.py', 'cam', config, checkpoint, tmp_path / 'black.png', '--class', 'cat')
    assert 'class cat does not exist; give its number, or one of 0, 1, 2' in done.err
