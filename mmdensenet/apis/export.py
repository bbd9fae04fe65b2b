"""Export a checkpoint, and compare the scores of the file with those of PyTorch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import Tensor

from mmdensenet.datasets.image_header import MAX_PIXELS
from mmdensenet.errors import UserError
from mmdensenet.export.before import put_before
from mmdensenet.export.ensemble import Ensemble, EnsembleScores
from mmdensenet.export.files import (
    NEEDS,
    SUFFIXES,
    require_packages,
    write_onnx,
    write_openvino,
    write_torch_export,
)
from mmdensenet.export.fold import ScoresOf, why_not_foldable
from mmdensenet.export.graph import inference_graph
from mmdensenet.export.int8_graph import int8_graph, require_quantisable
from mmdensenet.export.metadata import Metadata
from mmdensenet.export.preprocess import Preprocess
from mmdensenet.export.resample import NotInGraphError, is_at_an_end, resizes_and_crops
from mmdensenet.output import output_file
from mmdensenet.results.decided import decisions_of
from mmdensenet.terminal import each, waiting

from .config_data import require_data
from .export_compare import compare
from .export_description import describe
from .export_images import BATCH, images_of_data_set, images_of_folder
from .image_lists import expand
from .inference import pipeline_of
from .models import get_model, require_classes_of
from .runner import open_config, require_checkpoint
from .summary import summarise
from .tasks import require_one_task


@dataclass
class Export:
    """An exported file, and its comparison with PyTorch.

    Attributes:
        file: the file; OpenVINO's weights lie beside it as .bin.
        metadata: its description of itself.
        why_not_folded: None if the graph is the folded one.
        images: how many were compared.
        difference: the largest of any score, and where there are decisions of any calibrated probability.
        agreement: share of images with the same prediction as PyTorch's, 0 to 1; of several labels, of labels. Where
            there are decisions, of the labels as decided; ``same_sets`` and ``same_flags`` are the shares of images
            with the same conformal set and the same mark as unlike the validation images, None where there are none.
        accuracy, torch_accuracy: of the file and of PyTorch on the images with a label, 0 to 1, or None: top-1, or
            as decided; of several labels the mean area under the ROC curve.
        calibrated_on: which images int8 was calibrated with.
    """

    file: Path
    metadata: Metadata
    why_not_folded: str | None
    images: int = 0
    difference: float = 0.0
    agreement: float = 1.0
    same_sets: float | None = None
    same_flags: float | None = None
    accuracy: float | None = None
    torch_accuracy: float | None = None
    calibrated_on: str | None = None


def export_model(
    config: str | Config,
    checkpoint: str,
    out: str | Path | None = None,
    format: str = 'onnx',
    *,
    int8: bool = False,
    symmetric: bool = False,
    calib: int = 256,
    batch: int = 1,
    dynamic: bool = False,
    input_size: Sequence[int] | None = None,
    with_preprocess: bool = False,
    images: str | None = None,
    check: int | None = None,
    ensemble: Ensemble | None = None,
    cfg_options: dict | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Export:
    """Write a file that runs without PyTorch's model and describes itself, and compare it with the model.

    Args:
        config, checkpoint: as for :func:`mmdensenet.apis.test_model`.
        out: file; by default the config's name and the format's ending, in this folder.
        format: 'onnx', 'openvino' or 'torch-export'.
        int8: compute in 8-bit integers, with ranges of ``calib`` images of the training set (of the test set where
            there is none, of ``images`` where they are given).
        symmetric: the integers that TensorRT takes, signed and with zero points of 0; see
            ``mmdensenet/export/int8_symmetric.py``. For the format onnx.
        batch: images at once; ``dynamic`` takes any number.
        input_size: (height, width) if it is not what the test pipeline gives; images are resized to it after the
            pipeline's other steps.
        with_preprocess: the graph takes uint8 images (N, H, W, C), RGB or grey, of any size where the test pipeline
            resizes or crops, and does that and the normalisation.
        images: a folder of images to compare with, in the place of the test set.
        check: how many images are compared, evenly spaced; by default 200, with ``int8`` all.
        ensemble: export the mean of its models, of which ``checkpoint`` is one.
        cfg_options: dotted keys to values, which override the config.
        report: called with a line of text on what is done.

    Returns:
        The file, and its comparison with the model.

    Raises:
        UserError: for what the user can put right, among it a missing package or images that are not there.
    """
    if format not in SUFFIXES:
        raise UserError(f'format={format}: choose {", ".join(SUFFIXES)}.')
    for name, value in (('batch', batch), ('calib', calib), ('check', 1 if check is None else check)):
        if value < 1:
            raise UserError(f'{name}={value}: give 1 or more.')
    if int8 and format == 'torch-export':
        raise UserError(
            '`int8` is for the formats onnx and openvino; torch.export has no integer convolutions on CPUs.'
        )
    if int8 and ensemble is not None:
        raise UserError('`int8` is for one model, not for an ensemble.')
    if symmetric and (not int8 or format != 'onnx'):
        raise UserError('`symmetric` says which integers, so it needs `int8`, and the format onnx.')
    require_packages(*NEEDS[format])
    cfg = open_config(config, cfg_options)
    require_checkpoint(checkpoint)
    if images is not None:
        expand(images)  # before anything is built
    elif cfg.get('test_dataloader') is not None:
        require_data(cfg, 'test_dataloader')
    pipeline = pipeline_of(cfg)
    if input_size is not None:
        _resize_last(pipeline, input_size)
    require_one_task(cfg.model.get('head'), 'export')
    model = get_model(cfg, checkpoint)
    decisions = decisions_of(model, checkpoint) if ensemble is None else ensemble.decisions
    if not isinstance(model.data_preprocessor, ClsDataPreprocessor) or model.data_preprocessor.pad_size_divisor > 1:
        raise UserError('data_preprocessor: only ClsDataPreprocessor without padding can be exported.')
    source = images_of_folder(model, images) if images else images_of_data_set(cfg, 'test_dataloader')
    require_classes_of(model, source.lists_of_classes, checkpoint)
    first = source.pixels(0)
    if with_preprocess and first.dtype != torch.uint8:
        raise UserError(f'`with_preprocess` is for images of 8 bits; the test pipeline gives {first.dtype}.')
    _require_fits(model, first)
    try:
        steps = resizes_and_crops(pipeline) if with_preprocess else []
    except NotInGraphError as error:
        raise UserError(f'`with_preprocess` cannot put this into the graph: {error}.') from error
    metadata = describe(cfg, model, checkpoint, first, None if dynamic else batch, with_preprocess, bool(steps), int8)
    metadata.decisions = None if decisions is None else decisions.to_dict()
    models = [model]
    if ensemble is not None:
        options = ensemble.options or ({},) * len(ensemble.checkpoints)
        models = [get_model(open_config(cfg, own), file) for file, own in zip(ensemble.checkpoints, options)]
        metadata.checkpoint, metadata.sha256 = f'{len(models)} models', ensemble.sha256
    file = Path(out) if out else Path(f'{metadata.model}{"-int8" if int8 else ""}{SUFFIXES[format]}')
    output_file(file, (SUFFIXES[format],))

    summarise(model, checkpoint, images=images or f'{len(source):,} of the test set', file=file)
    reason = why_not_foldable(model.backbone)
    done = Export(file, metadata, reason)
    example = _example(metadata, 2 if dynamic else batch)
    if int8:
        graph: object = _int8_graph(
            cfg, model, source, images, calib, 'symmetric' if symmetric else format, done, report
        )
    else:
        graph = _scores_of(
            model, models, ensemble, lambda one: ScoresOf(one) if reason else inference_graph(one, format)
        )
    if with_preprocess:
        graph = put_before(Preprocess(metadata, steps).eval(), graph, example, metadata)
    write = {'onnx': write_onnx, 'openvino': write_openvino, 'torch-export': write_torch_export}[format]
    report(f'writing {file}')
    with waiting(f'writing {file}'):
        write(graph, example, metadata, file)
    whole = None
    if metadata.any_size:
        as_read = [step for step in pipeline if is_at_an_end(step)]
        whole = (
            images_of_folder(model, images, as_read) if images else images_of_data_set(cfg, 'test_dataloader', as_read)
        )
    compare(
        _scores_of(model, models, ensemble, ScoresOf),
        lambda pixels: _normalised(model, pixels),
        source,
        whole,
        done,
        check if check else (len(source) if int8 else 200),
    )
    return done


def _scores_of(
    model: BaseModel, models: Sequence[BaseModel], ensemble: Ensemble | None, graph_of: Callable
) -> ScoresOf | EnsembleScores:
    """Of images that are prepared as ``model`` does."""
    if ensemble is None:
        return graph_of(model).eval()
    graphs = [graph_of(one) for one in models]
    return EnsembleScores(graphs, ensemble.temperatures, _normalisations([model, *models])).eval()


def _normalisations(models: Sequence[BaseModel]) -> list[tuple[Tensor, Tensor]] | None:
    """Mean and deviation (C,) of each model; None where all have the same, or none.

    Raises:
        UserError: if some have them and others have not.
    """
    preprocessors = [model.data_preprocessor for model in models]
    if len({each._enable_normalize for each in preprocessors}) > 1:
        raise UserError('data_preprocessor: some of the models normalise their images, and others do not.')
    if not preprocessors[0]._enable_normalize:
        return None
    found = [(each.mean.flatten(), each.std.flatten()) for each in preprocessors]
    same = all(torch.equal(mean, found[0][0]) and torch.equal(std, found[0][1]) for mean, std in found)
    return None if same else found


def _resize_last(pipeline: list[dict], size: Sequence[int]) -> None:
    if min(size) < 1 or math.prod(size) > MAX_PIXELS:
        raise UserError(
            f'input_size={" ".join(map(str, size))}: give the height and width in pixels, '
            f'at most {MAX_PIXELS:,} in all.'
        )
    at = next((i for i, step in enumerate(pipeline) if step['type'] == 'PackInputs'), len(pipeline))
    pipeline.insert(at, dict(type='Resize', scale=(int(size[1]), int(size[0]))))


def _require_fits(model: BaseModel, pixels: Tensor) -> None:
    """Run the model once: what it cannot take, the exporters would say in pages about themselves."""
    try:
        with torch.no_grad():
            ScoresOf(model).eval()(_normalised(model, pixels[None]))
    except (RuntimeError, UserError) as error:
        height, width = pixels.shape[1:]
        raise UserError(
            f'the model cannot take images of {height} x {width} pixels: give another `input_size` '
            f'({str(error).strip().splitlines()[0][:150]}).'
        ) from error


def _example(metadata: Metadata, batch: int) -> Tensor:
    height, width = metadata.size
    if metadata.any_size:  # torch.export takes sizes that are equal in the example for always equal
        height, width = height + 9, width + 30
    if metadata.with_preprocess:
        return torch.zeros(batch, height, width, metadata.channels, dtype=torch.uint8)
    return torch.zeros(batch, metadata.channels, height, width)


def _int8_graph(cfg, model, source, images, calib, format, done: Export, report) -> object:
    """The graph of :func:`~mmdensenet.export.int8_graph.int8_graph`, calibrated with images of the training set, or
    with ``source`` where there is none or ``images`` are given."""
    require_quantisable(model, done.why_not_folded)
    done.calibrated_on = images or 'the training set'
    if not images:
        try:
            source = images_of_data_set(cfg, 'train_dataloader', pipeline_of(cfg), True)
        except UserError:
            done.calibrated_on = 'the test set, as there is no training set'
    calib = min(calib, len(source))
    done.metadata.calibration = calib
    text = f'calibrating with {calib} images of {done.calibrated_on}'
    report(text)
    batches = each(source.batches(calib), text, -(-calib // BATCH))
    normalised = (_normalised(model, pixels) for pixels, _ in batches)
    return int8_graph(model, normalised, done.metadata.batch, tuple(done.metadata.size), format)


def _normalised(model: BaseModel, pixels: Tensor) -> Tensor:
    return model.data_preprocessor(dict(inputs=pixels))['inputs']
