"""Reads weights from files of Keras, HDF5 of ``save_weights`` and ``save``, and ``.keras``, without running code."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdensenet.errors import UserError, first_line
from mmdensenet.extras import imported

SUFFIXES = ('.h5', '.hdf5', '.keras')
#: a norm's variables, in their order in files that number them
NORM = ('gamma', 'beta', 'moving_mean', 'moving_variance')
OURS = dict(
    kernel='weight', bias='bias', gamma='weight', beta='bias', moving_mean='running_mean', moving_variance='running_var'
)
#: bytes of all weights; DenseNet-201 has 80 MB
MOST = 1 << 32
#: the smallest share of its size to which a dataset of a file, or the files of an archive, may be compressed
LEAST_SHARE = 1 / 256


def load_keras(filename: str, path: str) -> dict:
    """A checkpoint of a file of Keras; ``state_dict`` has each layer's variables in torch's order of axes.

    The names are those of the layers with torch's names of variables: ``conv1_conv.weight`` (O, I, h, w),
    ``conv2_block1_0_bn.running_var``, ``predictions.weight`` (classes, features). For a model inside a model they are
    ``densenet121.conv1_conv.weight`` and so on. ``conv1/conv`` of files before Keras 3 becomes ``conv1_conv``.

    Args:
        filename: the file's name in messages.

    Raises:
        UserError: if h5py is missing, for a damaged file, and for one that refers to others or names no layers.
    """
    h5py = imported('h5py', f'{filename} is a file of Keras, which needs h5py')
    try:
        source, config = _open(filename, path)
        with h5py.File(source, 'r') as file:
            if 'model_config' in file.attrs:
                config = _text(file.attrs['model_config'])
            state = _read(filename, file, config)
    except UserError:
        raise
    except Exception as error:  # h5py and zipfile raise whatever the bytes lead to
        raise UserError(f'{filename} is damaged or not a file of Keras: {first_line(error)}') from error
    if 'GlobalMaxPooling2D' in config and 'GlobalAveragePooling2D' not in config:
        raise UserError(f'{filename}: its model pools by the maximum before the head; a DenseNet here by the average.')
    return dict(meta=dict(library='Keras'), state_dict=state)


def _open(filename: str, path: str) -> tuple[Any, str]:
    """What h5py can open, and the model's description if it is a separate file in the archive."""
    if not zipfile.is_zipfile(path):
        return path, ''
    with zipfile.ZipFile(path) as archive:
        if 'model.weights.h5' not in archive.namelist():
            raise UserError(f'{filename} has no model.weights.h5: save the model in one file (.keras or .h5).')
        parts = [archive.getinfo(name) for name in ('model.weights.h5', 'config.json')]
        size = sum(part.file_size for part in parts)
        if size > MOST or sum(part.compress_size for part in parts) < size * LEAST_SHARE:
            raise UserError(f'{filename} claims weights of {size:,} bytes, more than it can hold or any DenseNet has.')
        return io.BytesIO(archive.read('model.weights.h5')), archive.read('config.json').decode()


def _read(filename: str, file: Any, config: str) -> dict[str, Tensor]:
    root = _hard(filename, file, 'model_weights') if 'model_weights' in file else file
    variables = _by_number(filename, file, config) if 'layers' in root else _by_name(filename, root)
    state, total = {}, 0
    for layer, variable, dataset in variables:
        total += dataset.size * dataset.dtype.itemsize
        stored = dataset.id.get_storage_size()
        if dataset.external or dataset.is_virtual or total > MOST or stored < dataset.nbytes * LEAST_SHARE:
            raise UserError(f'{filename}: the values of {layer} are not in this file, or are more than it can hold.')
        if variable not in OURS or dataset.dtype.kind != 'f':
            continue
        values = np.asarray(dataset[()], np.float32 if dataset.dtype.itemsize < 8 else np.float64)
        if variable == 'kernel':  # Keras has (h, w, I, O) and (I, O)
            values = values.transpose((3, 2, 0, 1) if values.ndim == 4 else range(values.ndim)[::-1])
        state[f'{layer}.{OURS[variable]}'] = torch.from_numpy(np.ascontiguousarray(values))
    return state


def _by_name(filename: str, root: Any) -> Iterator[tuple[str, str, Any]]:
    """(layer, variable, dataset) of files of ``save_weights('x.h5')`` and ``save('x.h5')``."""
    groups = _strings(root, 'layer_names') or list(root)
    for group in groups:
        layer = _hard(filename, root, group)
        for name in _strings(layer, 'weight_names'):
            *path, variable = re.sub(r':\d+$', '', name).split('/')
            inside = '/'.join(path)
            whole = group if inside == group or inside.endswith(f'/{group}') else f'{group}/{inside}'
            yield _dotted(whole), variable, _hard(filename, layer, name)


def _by_number(filename: str, file: Any, config: str) -> Iterator[tuple[str, str, Any]]:
    """(layer, variable, dataset) of Keras 3's formats, which name groups after classes and number variables."""
    names = _names_of_groups(json.loads(config)) if config else {}

    def walk(group: Any, path: str, outer: str) -> Iterator[tuple[str, str, Any]]:
        for key in group:
            layer, place = _hard(filename, group, key), f'{path}/{key}'
            values = _hard(filename, layer, 'vars') if 'vars' in layer else {}
            name = _text(values.attrs.get('name', '')) if 'vars' in layer else ''
            name = name or names.get(place, '')
            if 'layers' in layer:
                yield from walk(_hard(filename, layer, 'layers'), place, f'{outer}{name or key}/')
            datasets = [_hard(filename, values, number) for number in sorted(values, key=int)]
            if datasets and not name:
                raise UserError(
                    f'{filename} does not say how its layers are called: save the model with Keras as .keras or .h5.'
                )
            kinds = NORM if len(datasets) == 4 and all(d.ndim == 1 for d in datasets) else ('kernel', 'bias')
            if datasets and (kinds is NORM or datasets[0].ndim in (2, 4)):
                for variable, dataset in zip(kinds, datasets):
                    yield _dotted(outer + name), variable, dataset

    yield from walk(_hard(filename, file, 'layers'), '', '')


def _names_of_groups(config: Any, path: str = '') -> dict[str, str]:
    """The layer's name for each group, from a model's description; groups are numbered by class."""
    names, counts = {}, {}
    for layer in config.get('config', {}).get('layers', ()):
        kind = re.sub('(.)([A-Z][a-z]+)', r'\1_\2', layer['class_name'])  # conv2d, batch_normalization
        kind = re.sub('([a-z])([A-Z])', r'\1_\2', kind).lower()
        number = counts[kind] = counts.get(kind, -1) + 1
        place = f'{path}/{kind}' + (f'_{number}' if number else '')
        names[place] = layer['config']['name']
        names |= _names_of_groups(layer, place)
    return names


def _dotted(path: str) -> str:
    return re.sub(r'(^|/)conv1/(conv|bn)$', r'\1conv1_\2', path).replace('/', '.')


def _hard(filename: str, group: Any, name: str) -> Any:
    """The object with a name in this file. Links are refused: one may lead to any file of the machine."""
    import h5py

    for part in name.split('/'):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise UserError(f'{filename}: {name} is missing in it, or a link to elsewhere.')
        group = group[part]
    return group


def _strings(group: Any, attribute: str) -> list[str]:
    """A list of names in an attribute; Keras splits a long list over several."""
    values = list(group.attrs.get(attribute, ()))
    number = 0
    while f'{attribute}{number}' in group.attrs:
        values += list(group.attrs[f'{attribute}{number}'])
        number += 1
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
