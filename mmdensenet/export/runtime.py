"""Running exported files. What is read from them is data: a description in JSON, and a graph for its runtime."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmdensenet.checkpoints.checkpoint_file import sha256
from mmdensenet.errors import UserError
from mmdensenet.similar import similar_path

from .files import WEIGHTS, require_packages
from .metadata import KEY, Metadata
from .onnx_hash import is_as_written
from .preprocess import Preprocess
from .torch_graph import TorchGraph, UnreadableError

#: the array of the input and the name of an output, 'scores' or 'logits' -> that output
Run = Callable[[np.ndarray, str], np.ndarray]


class ExportedModel:
    """An exported file, opened.

    Args:
        file: what ``tools/export.py`` wrote: .onnx runs in ONNX Runtime, .xml in OpenVINO, .pt2 in PyTorch.
        threads: on the CPU; None leaves it to the runtime, which takes all cores.

    Raises:
        UserError: if the file does not exist, cannot be read, does not describe itself, or its runtime is missing.
    """

    def __init__(self, file: str | Path, threads: int | None = None):
        self.file = Path(file).expanduser()
        if not self.file.is_file():
            raise UserError(f'{file} does not exist.{similar_path(self.file)}')
        text, start = _OPENERS[self.file.suffix.lower()](self.file, threads)
        self.metadata = Metadata.from_json(text, str(file))
        self._run = start()
        self._preprocess = Preprocess(self.metadata)

    def logits(self, pixels: Tensor | Sequence[Tensor]) -> np.ndarray:
        """What the scores are made of, as :meth:`scores`; of files with decisions."""
        return self.scores(pixels, 'logits')

    def scores(self, pixels: Tensor | Sequence[Tensor], output: str = 'scores') -> np.ndarray:
        """Scores (N, classes), float32.

        Args:
            pixels: (N, C, H, W) as the test pipeline leaves them, of any type, or a list of (C, H, W), which may be of
                several sizes where the file takes any (``any_size``; then as the loading step leaves them).

        Raises:
            UserError: for images of another size than the file's, and with ``with_preprocess`` for others than uint8.
        """
        metadata = self.metadata
        if not isinstance(pixels, Tensor):
            return self._by_size(pixels, output)
        if pixels.shape[1] != metadata.channels or (not metadata.any_size and list(pixels.shape[2:]) != metadata.size):
            size = 'any' if metadata.any_size else tuple(metadata.size)
            raise UserError(
                f'{self.file} takes images of {metadata.channels} channels and (height, width) {size}, '
                f'not {pixels.shape[1]} and {tuple(pixels.shape[2:])}.'
            )
        rgb = pixels.flip(1) if metadata.channels == 3 and metadata.reads != metadata.order else pixels
        if metadata.with_preprocess:
            if pixels.dtype != torch.uint8:
                raise UserError(f'{self.file} takes images of 8 bits, not {pixels.dtype}.')
            ready = (rgb.flip(1) if self._preprocess.flip else rgb).permute(0, 2, 3, 1)
        else:
            ready = self._preprocess.normalise(rgb.float())
        return self._in_batches(ready.contiguous().numpy(), output)

    def _by_size(self, images: Sequence[Tensor], output: str) -> np.ndarray:
        groups: dict[tuple, list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(tuple(image.shape), []).append(index)
        scores = np.empty((len(images), self.metadata.num_classes), np.float32)
        for indices in groups.values():
            scores[indices] = self.scores(torch.stack([images[i] for i in indices]), output)
        return scores

    def _in_batches(self, images: np.ndarray, output: str) -> np.ndarray:
        size = self.metadata.batch
        if size is None:
            return self._scores_of(images, output)
        parts = []
        for i in range(0, len(images), size):
            part = images[i : i + size]
            short = size - len(part)
            full = np.concatenate([part, np.repeat(part[-1:], short, 0)]) if short else part
            parts.append(self._scores_of(full, output)[: len(part)])
        return np.concatenate(parts)

    def _scores_of(self, images: np.ndarray, output: str) -> np.ndarray:
        """Of a file whose graph is not what its description says, too."""
        try:
            scores = self._run(images, output)
        except Exception as error:  # the runtimes' own exceptions have no common base
            raise UserError(
                f'{self.file} cannot be run, export it again: {" ".join(str(error).split())[:200]}'
            ) from error
        if scores.shape != (len(images), self.metadata.num_classes):
            raise UserError(
                f'{self.file} gives scores of shape {scores.shape} for {len(images)} images, not one for each of the '
                f'{self.metadata.num_classes} classes of its description. Export it again.'
            )
        return scores


def _open_onnx(file: Path, threads: int | None) -> tuple[str | None, Callable[[], Run]]:
    require_packages('onnxruntime')
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=['CPUExecutionProvider'])
    except Exception as error:  # its own exceptions have no common base
        raise _unreadable(file, error) from error
    if not is_as_written(file):
        raise UserError(f'{file} is damaged, or was changed after its export: copy it again, or export it again.')
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    return text, lambda: lambda images, output: session.run([output], {'images': images})[0]


def _open_openvino(file: Path, threads: int | None) -> tuple[str | None, Callable[[], Run]]:
    require_packages('openvino')
    import openvino

    core = openvino.Core()
    try:
        model = core.read_model(file)
        path = [KEY, 'description']
        text = model.get_rt_info(path).astype(str) if model.has_rt_info(path) else None
        weights = [KEY, WEIGHTS]
        expected = model.get_rt_info(weights).astype(str) if model.has_rt_info(weights) else None
    except (RuntimeError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error
    beside = file.with_suffix('.bin')
    if expected is not None and not (beside.is_file() and sha256(beside) == expected):
        raise UserError(f'{beside} is damaged or does not belong to {file}: copy both files, or export them again.')

    def start() -> Run:
        # processors with bfloat16 would use it, and the scores would not be those of the checkpoint
        properties = {'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY'}
        if threads is not None:
            properties['INFERENCE_NUM_THREADS'] = threads
        request = core.compile_model(model, 'CPU', properties).create_infer_request()
        return lambda images, output: request.infer({0: images})[0 if output == 'scores' else output].copy()

    return text, start


def _open_torch_export(file: Path, threads: int | None) -> tuple[str | None, Callable[[], Run]]:
    try:
        graph = TorchGraph(file)  # PyTorch's number of threads is its process's
    except UnreadableError as error:
        raise _unreadable(file, error) from error
    return graph.description, lambda: lambda images, output: graph(torch.from_numpy(images), output).numpy()


def _unreadable(file: Path, error: Exception) -> UserError:
    lines = [line for line in str(error).strip().splitlines() if line] or [type(error).__name__]
    return UserError(f'{file} cannot be read: {lines[-1][:200]}')


#: each gives the file's description, and what starts its runtime: then a function from the input's array to the scores'
_OPENERS = {'.onnx': _open_onnx, '.xml': _open_openvino, '.pt2': _open_torch_export}
