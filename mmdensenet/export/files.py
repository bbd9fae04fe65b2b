"""Writes the exported files: ONNX, OpenVINO, torch.export."""

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from mmdensenet.checkpoints.checkpoint_file import replacing, sha256
from mmdensenet.errors import UserError
from mmdensenet.extras import install_command
from mmdensenet.output import writing

from .logits import add_logits_to_onnx, add_logits_to_openvino
from .metadata import KEY, Metadata
from .onnx_hash import append_hash

#: path in OpenVINO's .xml of the SHA-256 of its .bin: OpenVINO itself would read any .bin of the same size
WEIGHTS = 'weights_sha256'
SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml', 'torch-export': '.pt2'}
#: packages of the extra that each format needs
NEEDS = {
    'onnx': ('onnx', 'onnxscript', 'onnxruntime'),
    'openvino': ('onnx', 'onnxscript', 'openvino'),
    'torch-export': (),
}


def require_packages(*names: str) -> None:
    """Check that the packages of a format can be imported.

    Raises:
        UserError: with the command that installs them.
    """
    for name in names:
        try:
            __import__(name)
        except ImportError as error:
            raise UserError(f'{name} is not installed. Run: {install_command("export")}') from error


def write_onnx(model: 'nn.Module | object', example: Tensor, metadata: Metadata, out: Path) -> None:
    """Write a module, called with ``example``, or an onnx.ModelProto."""
    import onnx

    proto = to_onnx(model, example, dynamic_axes(metadata)) if isinstance(model, nn.Module) else model
    if metadata.decisions is not None:
        add_logits_to_onnx(proto)
    onnx.helper.set_model_props(proto, {KEY: metadata.to_json()})
    with writing(out), replacing(out) as temporary:
        onnx.save(proto, str(temporary))
        append_hash(temporary)


def dynamic_axes(metadata: Metadata) -> dict[int, object]:
    """The axes of the input whose length is known only when the graph runs, as torch.export takes them."""
    names = {0: 'batch'} if metadata.batch is None else {}
    if metadata.any_size:
        names |= {1: 'height', 2: 'width'}
    return {axis: torch.export.Dim(name) for axis, name in names.items()}


def to_onnx(model: nn.Module, example: Tensor, axes: dict[int, object] | None = None, **options):
    """An onnx.ModelProto with input ``images`` and output ``scores``; ``axes`` of :func:`dynamic_axes`."""
    with quiet():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=['images'],
            output_names=['scores'],
            dynamic_shapes=(axes,) if axes else None,
            verbose=False,
            **options,
        )
    proto = program.model_proto
    for node in proto.graph.node:  # remove the source file and line on this machine
        del node.metadata_props[:]
    return proto


def to_openvino(proto):
    """The openvino.Model of an onnx.ModelProto."""
    import onnx
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder, 'between.onnx')
        onnx.save(proto, str(between))
        return openvino.convert_model(between)


def write_openvino(model: 'nn.Module | object', example: Tensor, metadata: Metadata, out: Path) -> None:
    """Write a module, called with ``example``, or an openvino.Model: ``out`` and, beside it, its weights as .bin."""
    import openvino

    if isinstance(model, nn.Module):
        model = to_openvino(to_onnx(model, example, dynamic_axes(metadata)))
    with writing(out), tempfile.TemporaryDirectory(dir=out.parent, prefix=f'.{out.stem}-') as folder:
        if metadata.decisions is not None:
            add_logits_to_openvino(model)
        model.set_rt_info(metadata.to_json(), [KEY, 'description'])
        written = Path(folder, out.name)
        openvino.save_model(model, written, compress_to_fp16=False)
        model.set_rt_info(sha256(written.with_suffix('.bin')), [KEY, WEIGHTS])
        openvino.save_model(model, written, compress_to_fp16=False)
        os.replace(written.with_suffix('.bin'), out.with_suffix('.bin'))
        os.replace(written, out)


def write_torch_export(model: nn.Module, example: Tensor, metadata: Metadata, out: Path) -> None:
    """Write a module, called with ``example``."""
    axes = dynamic_axes(metadata)
    with quiet():
        program = torch.export.export(model, (example,), dynamic_shapes=(axes,) if axes else None)
        for node in program.graph.nodes:  # remove the paths on this machine
            node.meta.pop('stack_trace', None)
        # in memory first: if the disk is full, torch's writer kills the process
        written = io.BytesIO()
        torch.export.save(program, written, extra_files={f'{KEY}.json': metadata.to_json()})
    with writing(out), replacing(out) as temporary:
        temporary.write_bytes(written.getbuffer())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' own messages."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore', (DeprecationWarning, FutureWarning))
        try:
            yield
        finally:
            logger.setLevel(level)
