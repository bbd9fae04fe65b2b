"""The reader reads nothing outside of the file, and refuses files without weights of Keras."""

import io
import zipfile

import numpy as np
import pytest
import torch
from foreign_models import GROWTH, INIT

h5py = pytest.importorskip('h5py', reason='h5py is not installed (the extra keras)')
from keras_files import keras_network, layers_of, write_named, write_numbered  # noqa: E402

from mmdensenet.checkpoints import keras_file  # noqa: E402
from mmdensenet.convert import read_checkpoint  # noqa: E402
from mmdensenet.errors import UserError  # noqa: E402


def hostile(path, kind):
    layers = layers_of(keras_network())
    if kind == 'names':
        write_numbered(path, layers, named=False)
        return
    write_named(path, layers, whole=False, old=False)
    (path.parent / 'secret.bin').write_bytes(b'\1' * 64)
    with h5py.File(path.parent / 'other.h5', 'w') as other:
        other['x'] = np.ones(GROWTH * 4, np.float32)
    with h5py.File(path, 'a') as file:
        bn = file['conv1_bn/conv1_bn']
        del bn['gamma']
        if kind == 'link':
            bn['gamma'] = h5py.ExternalLink('other.h5', 'x')
        elif kind == 'external':
            bn.create_dataset('gamma', (INIT,), '<f4', external=[(str(path.parent / 'secret.bin'), 0, 40)])
        elif kind == 'bomb':
            bn.create_dataset('gamma', (1 << 28,), '<f4', chunks=(1 << 20,), compression='gzip')


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('link', 'missing in it, or a link to elsewhere'),
        ('external', 'not in this file'),
        ('bomb', 'not in this file, or are more than it can hold'),
        ('absent', 'conv1_bn/gamma is missing'),
        ('names', 'how its layers are called: save the model'),
    ],
)
def test_files_that_refer_to_others(tmp_path, kind, message):
    hostile(tmp_path / 'x.weights.h5', kind)
    with pytest.raises(UserError, match=rf'x\.weights\.h5.*{message}'):
        read_checkpoint(str(tmp_path / 'x.weights.h5'))


def test_files_of_more_weights_than_there_are(tmp_path, monkeypatch):
    write_named(tmp_path / 'x.h5', layers_of(keras_network()), whole=False, old=False)
    with zipfile.ZipFile(tmp_path / 'x.keras', 'w') as archive:
        for name, size in (('model.weights.h5', 600), ('config.json', 401)):
            archive.writestr(name, bytes(size))
    state = read_checkpoint(str(tmp_path / 'x.h5'))['state_dict']
    size = sum(tensor.nbytes for tensor in state.values())
    monkeypatch.setattr(keras_file, 'MOST', size)
    assert read_checkpoint(str(tmp_path / 'x.h5'))['state_dict'].keys() == state.keys()
    for most, name, message in (
        (size - 1, 'x.h5', 'more than it can hold'),
        (1000, 'x.keras', 'weights of 1,001 bytes'),
    ):
        monkeypatch.setattr(keras_file, 'MOST', most)
        with pytest.raises(UserError, match=message):
            read_checkpoint(str(tmp_path / name))


def test_an_archive_that_expands(tmp_path):
    with zipfile.ZipFile(tmp_path / 'x.keras', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('model.weights.h5', bytes(1_000_000))
        archive.writestr('config.json', '{}')
    with pytest.raises(UserError, match=r'claims weights of 1,000,002 bytes, more than it can hold'):
        read_checkpoint(str(tmp_path / 'x.keras'))


def test_float64_stays_and_what_is_no_weight_is_left_out(tmp_path):
    write_named(tmp_path / 'x.h5', layers_of(keras_network()), whole=False, old=False)
    before = read_checkpoint(str(tmp_path / 'x.h5'))['state_dict']
    with h5py.File(tmp_path / 'x.h5', 'a') as file:
        layer = file['conv1_bn']
        layer['conv1_bn/seed'] = np.ones(2, np.int64)
        layer.attrs['weight_names'] = np.array([b'conv1_bn/seed', *layer.attrs['weight_names']])
        values = layer['conv1_bn/gamma'][()].astype(np.float64)
        del layer['conv1_bn/gamma']
        layer['conv1_bn/gamma'] = values
    after = read_checkpoint(str(tmp_path / 'x.h5'))['state_dict']
    assert after.keys() == before.keys()
    changed = {name: after[name].dtype for name in before if after[name].dtype != before[name].dtype}
    assert changed == {'conv1_bn.weight': torch.float64}


def test_files_without_weights_of_keras(tmp_path, monkeypatch):
    (tmp_path / 'cut.h5').write_bytes(b'\x89HDF\r\n\x1a\n' + bytes(50))
    with pytest.raises(UserError, match=r'cut\.h5 is damaged or not a file of Keras'):
        read_checkpoint(str(tmp_path / 'cut.h5'))
    with zipfile.ZipFile(tmp_path / 'x.keras', 'w') as archive:
        archive.writestr('model.weights.json', '{}')
    with pytest.raises(UserError, match=r'x\.keras has no model\.weights\.h5'):
        read_checkpoint(str(tmp_path / 'x.keras'))
    write_named(tmp_path / 'max.h5', layers_of(keras_network()), whole=True, old=False)
    with h5py.File(tmp_path / 'max.h5', 'a') as file:
        file.attrs['model_config'] = '{"class_name": "GlobalMaxPooling2D"}'
    with pytest.raises(UserError, match=r'max\.h5: its model pools by the maximum'):
        read_checkpoint(str(tmp_path / 'max.h5'))
    monkeypatch.setitem(__import__('sys').modules, 'h5py', None)
    with pytest.raises(UserError, match='pip install h5py'):
        keras_file.load_keras('m.h5', io.BytesIO())
