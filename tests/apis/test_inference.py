"""Predictions of files, arrays, URLs and models."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS
from file_server import served
from foreign_models import randomise
from PIL import Image

import mmdensenet
from mmdensenet.apis import Inferencer
from mmdensenet.errors import UserError


def scores_of_the_tool(check_tool, config, checkpoint, folder):
    out = folder / 'scores.pkl'
    check_tool('test.py', config, checkpoint, '--work-dir', folder / 'work', '--out', out)
    with open(out, 'rb') as file:
        return {sample['img_path']: sample['pred_score'] for sample in pickle.load(file)}


def test_identical_scores(check_tool, config, checkpoint, images, tmp_path):
    expected = scores_of_the_tool(check_tool, config, checkpoint, tmp_path)
    results = mmdensenet.inference(str(config), str(images), str(checkpoint), batch_size=4)
    assert len(results) == len(expected) == 6
    for result in results:
        assert torch.equal(torch.from_numpy(result['pred_scores']), expected[result['img_path']])
    options = ('--checkpoint', checkpoint, '--json', '--topk', '2', '--batch-size', '4')
    done = check_tool('predict.py', images, '--model', config, *options)
    for record in json.loads(done.out):
        scores = expected[record['img_path']]
        top = scores.topk(2)
        assert [entry['label'] for entry in record['predictions']] == top.indices.tolist()
        assert [entry['score'] for entry in record['predictions']] == top.values.tolist()
        assert record['predictions'][0]['class'] == ('cat', 'dog', 'emu')[top.indices[0]]
    assert not (tmp_path / 'RAN').exists(), 'config text in a checkpoint is not executed'


def test_data_without_a_loading_step(check_tool, tmp_path):
    """scikit-learn's digits come as grey arrays."""
    model = randomise(mmdensenet.get_model(str(DIGITS)))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
    out = tmp_path / 'scores.pkl'
    check_tool('test.py', DIGITS, tmp_path / 'w.pth', '--work-dir', tmp_path, '--out', out)
    with open(out, 'rb') as file:
        expected = torch.stack([sample['pred_score'] for sample in pickle.load(file)])
    from mmdensenet.datasets import Digits

    dataset = Digits('test')
    arrays = [dataset.get_data_info(i)['img'] for i in range(150)]
    results = mmdensenet.inference(str(DIGITS), arrays, str(tmp_path / 'w.pth'), batch_size=150)
    assert torch.equal(torch.from_numpy(np.stack([r['pred_scores'] for r in results])), expected[:150])
    Image.fromarray(arrays[0][..., 0]).save(tmp_path / 'digit.png')
    from_file = mmdensenet.inference(str(DIGITS), str(tmp_path / 'digit.png'), str(tmp_path / 'w.pth'))
    assert np.allclose(from_file[0]['pred_scores'], results[0]['pred_scores'], atol=1e-6)


@pytest.mark.parametrize(('loads', 'to_rgb'), [(True, True), (True, False), (False, False)])
def test_arrays_and_pil_images_are_the_files_pixels(config, checkpoint, images, loads, to_rgb):
    """Files are read as BGR, also for a model that has learned BGR; CIFAR's arrays are RGB already."""
    import mmcv
    from mmengine.config import Config

    cfg = Config.fromfile(config)
    cfg.data_preprocessor.to_rgb = to_rgb
    if not loads:
        cfg.test_dataloader.dataset.pipeline = cfg.test_dataloader.dataset.pipeline[1:]
    inferencer = Inferencer(cfg, str(checkpoint))
    file = str(images / 'class_1/56.jpg')
    bgr = mmcv.imread(file)
    np.save(images / 'array.npy', bgr)
    results = inferencer([file, bgr, Image.open(file), str(images / 'array.npy')])
    for result in results[1:]:
        assert np.allclose(result['pred_scores'], results[0]['pred_scores'], atol=1e-3), 'decoders differ a little'
    assert np.array_equal(results[1]['pred_scores'], results[0]['pred_scores'])
    flipped = inferencer([bgr[..., ::-1]])[0]
    assert not np.allclose(flipped['pred_scores'], results[0]['pred_scores'], atol=2e-3)


def test_a_step_that_fails_is_not_blamed_on_the_file(config, checkpoint, images):
    from mmengine.config import Config

    cfg = Config.fromfile(config)
    load, *rest = cfg.test_dataloader.dataset.pipeline
    resize = dict(type='Resize', scale=(32, 32), backend='pillow')
    cfg.test_dataloader.dataset.pipeline = [dict(load, to_float32=True), resize, *rest]
    inferencer, file = Inferencer(cfg, str(checkpoint)), images / 'class_1/56.jpg'
    floats = np.zeros((8, 8, 3), np.float32)
    for image, name in ((str(file), str(file)), (file.read_bytes(), 'the image'), (floats, 'an array')):
        with pytest.raises(UserError, match=f'^{name} is read, but .* cannot prepare it: Pillow backend'):
            inferencer([image])


def test_urls_and_pictures(run_tool, config, checkpoint, images, tmp_path):
    arguments = ['--model', config, '--checkpoint', checkpoint, '--show', tmp_path / 'shown']
    with served(images) as address:
        url = f'{address}/class_0/40.jpg'
        done = run_tool('predict.py', url, images / 'class_0/40.jpg', *arguments)
        gone = run_tool('predict.py', url.replace('40.jpg', 'gone.jpg'), *arguments)
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == url and lines[1:4] == lines[5:8] and len(lines[1].split()) == 2
    assert sorted(file.name for file in (tmp_path / 'shown').iterdir()) == ['000000_40.png', '000001_40.png']
    with Image.open(tmp_path / 'shown/000000_40.png') as shown:
        assert shown.height > 80
    assert gone.status == 2 and 'gone.jpg cannot be downloaded' in gone.err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['gone.jpg'], 'gone.jpg does not exist'),
        (['broken.jpg'], 'broken.jpg cannot be read as an image'),
        (['nothing.jpg'], 'nothing.jpg cannot be read as an image'),
        (['empty'], 'no images in this folder'),
        (['ok.jpg', '--topk', '0'], '--topk 0'),
        (['ok.jpg', '--batch-size', '0'], '--batch-size 0: give 1 or more'),
        (['objects.npy'], 'objects.npy of type object cannot be read'),
        (['text.npy'], 'text.npy of type <U1 cannot be read as an image'),
        (['archive.npy'], 'archive.npy cannot be read as an image'),
        (['huge.npy'], 'huge.npy: an array of shape (17592186044416,) has more than'),
        (['short.npy'], 'short.npy cannot be read: it is shorter than its header says'),
        (['volume.npy'], 'an array of shape (2, 3, 4, 5)'),
    ],
)
def test_mistakes(run_tool, config, checkpoint, images, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    (tmp_path / 'nothing.jpg').touch()
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'ok.jpg').write_bytes((images / 'class_0/40.jpg').read_bytes())
    np.save('objects.npy', np.array([dict()], dtype=object))
    np.save('volume.npy', np.zeros((2, 3, 4, 5)))
    np.save('text.npy', np.array([['a', 'b']]))
    np.savez('archive.npz', a=np.zeros(3))
    os.replace('archive.npz', 'archive.npy')
    for name, shape in (('huge', (1 << 44,)), ('short', (8, 8, 3, 1 << 40))):
        with open(f'{name}.npy', 'wb') as file:
            np.lib.format.write_array_header_1_0(file, dict(descr='|u1', fortran_order=False, shape=shape))
    done = run_tool('predict.py', *arguments, '--model', config, '--checkpoint', checkpoint)
    assert done.status == 2 and message in done.err, done.err
    assert len(done.err.strip().splitlines()) <= 2 and not done.out


def test_a_checkpoint_in_the_place_of_a_model(run_tool, checkpoint, images):
    done = run_tool('predict.py', images, '--model', checkpoint)
    assert done.status == 2 and f'model {checkpoint} is a file, but neither a config' in done.err
    assert 'give it with the config' in done.err and len(done.err.strip().splitlines()) == 1


def test_a_model_is_taken_as_it_is(config, checkpoint, images):
    model = mmdensenet.get_model(str(config), str(checkpoint))
    result = Inferencer(model)(images / 'class_0/40.jpg')[0]
    assert result['pred_class'] in ('cat', 'dog', 'emu')
    with pytest.raises(UserError, match='already has its weights'):
        Inferencer(model, str(checkpoint))
    with pytest.raises(UserError, match='no _config'):
        from mmpretrain.registry import MODELS

        Inferencer(MODELS.build(model._config.model))


def test_images_of_several_sizes_need_a_pipeline_that_resizes(tmp_path):
    torch.save(dict(state_dict=mmdensenet.get_model(str(DIGITS)).state_dict()), tmp_path / 'w.pth')
    inferencer = Inferencer(str(DIGITS), str(tmp_path / 'w.pth'))
    arrays = [np.zeros((8, 8), np.uint8), np.zeros((16, 12), np.uint8)]
    with pytest.raises(UserError, match='several sizes'):
        inferencer(arrays)
    assert len(inferencer(arrays, batch_size=1)) == 2


def test_a_folder_is_searched_for_dicom_too(tmp_path):
    from mmdensenet.apis.image_lists import expand

    for name in ('a.dcm', 'sub/b.DICOM', 'c.txt', 'd.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [Path(file).name for file in expand(tmp_path)] == ['a.dcm', 'd.png', 'b.DICOM']


def test_the_content_of_grey_files(tmp_path, config):
    from mmengine.config import Config

    pixels = np.random.default_rng(0).integers(0, 4000, (40, 40), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / 'deep.png')
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline[0] = dict(type='mmdensenet.LoadGreyImage', window=(0, 4000))
    model = randomise(mmdensenet.get_model(cfg, in_channels=1))
    inferencer = Inferencer(model)
    file = str(tmp_path / 'deep.png')
    from_file, from_content = inferencer([file, Path(file).read_bytes()])
    assert np.array_equal(from_file['pred_scores'], from_content['pred_scores'])
    with pytest.raises(UserError, match=r'^the image cannot be read'):
        inferencer(b'nothing')
