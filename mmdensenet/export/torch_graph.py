"""Reading torch.export files as data.

``torch.export.load`` unpickles, evaluates expressions and looks functions up by dotted names, all from the file. Here
the graph of a file, which is JSON, is walked instead: only the operators of ``OPERATORS``, which compute tensors from
tensors and numbers, with weights that are raw bytes. Anything else is refused.
"""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdensenet.checkpoints.archive import check_claims

from .metadata import KEY

#: the operators, as in torch.ops.aten, that a graph may name
OPERATORS = {
    *('conv2d.default', 'batch_norm.default', 'group_norm.default', 'layer_norm.default', 'linear.default'),
    *('cat.default', 'unsqueeze.default', 'expand.default', 'pad.default', 'hardsigmoid.default'),
    *('relu.default', 'silu.default', 'gelu.default', 'leaky_relu.default', 'softmax.int', 'sigmoid.default'),
    *('avg_pool2d.default', 'max_pool2d.default', 'adaptive_avg_pool2d.default', 'mean.dim', 'dropout.default'),
    *('add.Tensor', 'sub.Tensor', 'mul.Tensor', 'div.Tensor', 'to.dtype', 'to.dtype_layout', 'permute.default'),
    *('flip.default', 'view.default', 'flatten.using_ints', 'contiguous.default', 'sym_size.int'),
    # of resizing and cropping
    *('scalar_tensor.default', 'full_like.default', 'ones_like.default', 'zeros_like.default', 'index_select.default'),
    *('minimum.default', 'maximum.default', 'clamp.default', 'floor.default', 'round.default', 'abs.default'),
    *('gt.Tensor', 'lt.Scalar', 'where.self', 'rsub.Scalar', 'sum.dim_IntList'),
    *('slice.Tensor', 'select.int', 'transpose.int', 'matmul.default', 'cumsum.default'),
}
#: what torch.export adds to check types, without a result
CHECKS = {'torch.ops.aten._assert_tensor_metadata.default'}
#: the version of torch.export's schema that is understood
SCHEMA = 8
_TYPES = {1: torch.uint8, 5: torch.int64, 7: torch.float32}
#: what the schema's numbers stand for
_NAMED = {
    'as_layout': {7: torch.strided},
    'as_memory_format': {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format},
    'as_scalar_type': _TYPES,
}
_PLAIN = ('as_int', 'as_ints', 'as_float', 'as_floats', 'as_bool', 'as_string')
_Value = Callable[[dict], Any]


class UnreadableError(Exception):
    """What is in the file is not what is read here; the message says what."""


class TorchGraph:
    """A torch.export file with one input and one output. Called with the input it gives the output, or the logits.

    Args:
        file: the .pt2 file.

    Raises:
        UnreadableError: if the file is damaged, of another version, or has anything that is not read here.
    """

    def __init__(self, file: Path):
        try:
            check_claims(file)
            with zipfile.ZipFile(file) as archive:
                names = {name.partition('/')[2]: name for name in archive.namelist()}
                extra = names.get(f'extra/{KEY}.json')
                self.description = archive.read(extra).decode() if extra else None
                self._program = json.loads(archive.read(names['models/model.json']))
                weights = {}
                for kind in ('weights', 'constants'):  # constants: buffers that are in no state dict
                    config = json.loads(archive.read(names[f'data/{kind}/model_{kind}_config.json']))['config']
                    for name, entry in config.items():
                        weights[name] = _tensor(entry, archive.read(names[f'data/{kind}/{entry["path_name"]}']))
            self._read_program(weights)
        except UnreadableError:
            raise
        except (zipfile.BadZipFile, pickle.UnpicklingError) as error:
            raise UnreadableError(str(error)) from error
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, RecursionError) as error:
            raise UnreadableError(f'it is no file of torch.export ({type(error).__name__})') from error

    def _read_program(self, weights: dict[str, Tensor]) -> None:
        program = self._program
        if program['schema_version']['major'] != SCHEMA:
            raise UnreadableError(
                f'it has version {program["schema_version"]["major"]} of the schema, known is {SCHEMA}'
            )
        graph, signature = program['graph_module']['graph'], program['graph_module']['signature']
        self._constants: dict[str, Tensor] = {}
        inputs = []
        for spec in signature['input_specs']:
            ((kind, value),) = spec.items()
            if kind == 'user_input':
                inputs.append(value['arg']['as_tensor']['name'])
            elif kind in ('parameter', 'buffer'):
                self._constants[value['arg']['name']] = weights[value[f'{kind}_name']]
            else:
                raise UnreadableError(f'its graph has an input of the kind {kind[:40]!r}')
        (self._input,) = inputs
        (output,) = graph['outputs']
        scores = output['as_tensor']['name']
        #: the names of tensors
        self._outputs = dict(scores=scores)
        for node in graph['nodes']:
            made = [entry.get('as_tensor', {}).get('name') for entry in node['outputs']]
            if made == [scores] and node['target'].endswith(('.softmax.int', '.sigmoid.default')):
                self._outputs['logits'] = node['inputs'][0]['arg']['as_tensor']['name']
        self._steps = [_step(node) for node in graph['nodes'] if node['target'] not in CHECKS]
        del self._program

    def __call__(self, x: Tensor, output: str = 'scores') -> Tensor:
        """``output``: 'scores', or 'logits', what a softmax or sigmoid at the end makes the scores of."""
        values: dict[str, Any] = {**self._constants, self._input: x}
        with torch.no_grad():
            for operator, arguments, name in self._steps:
                values[name] = operator(**{key: value(values) for key, value in arguments.items()})
        return values[self._outputs[output]]


def _step(node: dict) -> tuple[Callable, dict[str, _Value], str]:
    target = node['target']
    operator = target.removeprefix('torch.ops.aten.')
    if operator not in OPERATORS or operator == target:
        raise UnreadableError(f'its graph calls {target[:80]!r}, which is not among the operators that are read')
    packet, _, overload = operator.partition('.')
    (output,) = node['outputs']
    (result,) = output.values()
    arguments = {entry['name']: _argument(entry['arg']) for entry in node['inputs']}
    return getattr(getattr(torch.ops.aten, packet), overload), arguments, result.get('name') or result['as_name']


def _argument(argument: dict) -> _Value:
    """How an operator's argument is found among the values computed so far."""
    ((kind, value),) = argument.items()
    if kind == 'as_none':
        return lambda values: None
    if kind == 'as_tensor':
        return lambda values: values[value['name']]
    if kind == 'as_tensors':
        return lambda values: [values[entry['name']] for entry in value]
    if kind in ('as_sym_int', 'as_sym_ints'):
        entries = value if kind == 'as_sym_ints' else [value]

        def sizes(values: dict) -> Any:
            found = [values[entry['as_name']] if 'as_name' in entry else entry['as_int'] for entry in entries]
            return found if kind == 'as_sym_ints' else found[0]

        return sizes
    if kind in _NAMED:
        named = _NAMED[kind][value]
        return lambda values: named
    if kind == 'as_device' and value['type'] == 'cpu':
        return lambda values: torch.device('cpu')
    if kind in _PLAIN:
        return lambda values: value
    raise UnreadableError(f'its graph has an argument of the kind {kind[:40]!r}')


def _tensor(entry: dict, content: bytes) -> Tensor:
    meta = entry['tensor_meta']
    if entry['use_pickle'] or not meta or meta['dtype'] not in (5, 7):
        raise UnreadableError('a weight is not plain float32')
    flat = torch.from_numpy(np.frombuffer(content, '<f4' if meta['dtype'] == 7 else '<i8').copy())
    shape, strides = ([size['as_int'] for size in meta[name]] for name in ('sizes', 'strides'))
    return flat.as_strided(shape, strides, meta['storage_offset']['as_int'])
