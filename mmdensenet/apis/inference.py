"""Predictions for images, on mmpretrain's inferencer, with exactly the preprocessing of the config's test pipeline."""

import copy
import sys
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import cv2
import mmcv
import numpy as np
import torch
from mmengine import fileio
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.model import BaseModel
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from rich.console import Console
from rich.progress import track

from mmdensenet.datasets.image_header import why_unreadable
from mmdensenet.datasets.in_memory import in_memory
from mmdensenet.datasets.wrappers import config_pipeline, reads_files
from mmdensenet.errors import BadImageError, UserError, first_line
from mmdensenet.results.decided import decide_samples, decided_result, decisions_of, is_multi_label, keeping_logits
from mmdensenet.results.visualizer import FastVisualizer
from mmdensenet.terminal import is_screen

from .config_data import refuse_reduced
from .given_pixels import load_array, pillow_pixels, require_8_bits, require_numbers
from .image_lists import expand
from .models import get_model, names_of, require_device
from .tasks import require_one_task

#: a path or URL, the content of an image file, an image of PIL's, or an array (H, W) or (H, W, C), colours in BGR order
#: as mmcv and OpenCV read them
ImageLike = str | Path | bytes | Image.Image | np.ndarray


class Inferencer(ImageClassificationInferencer):
    """mmpretrain's inferencer for a model of :func:`get_model`.

    The whole test pipeline of the config runs, its loading included, so that scores are those of ``tools/test.py``;
    the text of a config inside a checkpoint is never executed; folders are searched, and pictures keep their own names.

    Args:
        model: a model of :func:`get_model`, or what it takes.
        checkpoint: path or URL of weights in any layout. None takes the model zoo's, unless ``model`` is a model.
        device: by default the GPU if there is one.
        classes: names of the classes, if neither checkpoint nor config knows them.

    Raises:
        UserError: as :func:`get_model` does.
    """

    visualize_kwargs = {'show_dir'}

    def __init__(
        self,
        model: BaseModel | Config | str,
        checkpoint: str | None = None,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
    ):
        if isinstance(model, BaseModel):
            if not hasattr(model, '_config'):
                raise UserError('the model has no _config: build it with mmdensenet.get_model, or give its config.')
            if checkpoint is not None:
                raise UserError('a built model already has its weights: give checkpoint to get_model(pretrained=...).')
        else:
            model = get_model(model, checkpoint or True)
        require_one_task(getattr(model, 'head', None), 'predicting single images')
        device = device or ('cuda' if torch.cuda.is_available() else next(model.parameters()).device)
        names = classes or names_of(model, checkpoint or 'the checkpoint')
        require_as_many(classes, getattr(getattr(model, 'head', None), 'num_classes', None))
        super().__init__(model, pretrained=False, device=require_device(device), classes=names)
        self.multi_label = is_multi_label(getattr(model, 'head', None))
        #: :class:`mmdensenet.results.decisions.Decisions` of the checkpoint, or None: scores are uncalibrated
        self.decisions = decisions_of(model, checkpoint or 'the checkpoint')

    def __call__(self, inputs: ImageLike | Sequence[ImageLike], batch_size: int = 32, show_dir: str | None = None):
        """Predict.

        Args:
            inputs: an image, a folder, a .csv table or .txt list of paths, or a list of these; see ``ImageLike`` and
                :func:`~mmdensenet.apis.image_lists.expand`.
            show_dir: folder for a picture of each image with its prediction.

        Returns:
            For each image a dict with ``pred_scores`` (numpy, one score per class), ``pred_label``, ``pred_score`` and,
            where names are known, ``pred_class``; of several labels, ``pred_label``, ``pred_score`` and ``pred_class``
            are lists of those above the head's threshold. ``img_path`` where there is one.

            Of a checkpoint with decisions the scores are calibrated probabilities, the labels are decided at its
            operating points, and there are ``logits`` and, where they could be fitted, ``conformal_set`` (numbers of
            the classes in it), ``ood`` (True for an image unlike those of the validation) and ``ood_score``.

        Raises:
            UserError: for an image that cannot be read, and for scores that are not finite where there are decisions.
        """
        if batch_size < 1:
            raise UserError(f'batch_size={batch_size}: give 1 or more.')
        images = self._inputs_to_list(inputs)
        batches = self.preprocess(images, batch_size)
        total = -(-len(images) // batch_size)
        console = Console(stderr=True)
        if is_screen(sys.stderr) and total > 1:
            batches = track(batches, 'Predicting', total=total, console=console, transient=True)
        samples = [sample for batch in batches for sample in self.forward(batch)]
        if show_dir is not None:
            self.visualize(images, samples, show_dir)
        results = [self._result(image, sample) for image, sample in zip(images, samples)]
        if without := [result.get('img_path', 'an array') for result in results if 'pred_label' not in result]:
            raise UserError(f'the scores of {without[0]} are not finite numbers: the weights are damaged.')
        return results

    def forward(self, inputs: dict) -> list:
        """The data samples of a batch; where there are decisions, with ``logits`` and what is decided from them."""
        if self.decisions is None:
            return super().forward(inputs)
        with keeping_logits(self.model.head):
            return decide_samples(self.decisions, super().forward(inputs))

    def prepare(self, image: ImageLike) -> dict:
        """One image as the test pipeline leaves it: what :meth:`predict` takes. Several threads may do this at once.

        Raises:
            UserError: if it cannot be read.
        """
        if isinstance(image, bytes) and self.loads:
            return self._after_loading(self._load_content(image), 'the image')
        if isinstance(image, str) and not image.endswith('.npy') and self.loads:
            try:
                loaded = self.loader(dict(img_path=image))
            except (AssertionError, ImportError, OSError, ValueError, URLError, HTTPException, cv2.error) as error:
                raise _unreadable(image, error) from error
            if loaded is None:  # of mmcv's loader with ignore_empty
                raise _unreadable(image, None)
            return self._after_loading(loaded, image)
        pixels = self._pixels(image)
        if hasattr(self.loader, 'apply_window'):  # LoadGreyImage: arrays have the file's values
            pixels = self.loader.apply_window(pixels[..., 0])
        shape = pixels.shape[:2]
        path = dict(img_path=image) if isinstance(image, str) else {}
        return self._after_loading(
            dict(img=pixels, img_shape=shape, ori_shape=shape, **path), image if path else 'an array'
        )

    def _after_loading(self, loaded: dict, what: str) -> dict:
        try:
            return self.after_loading(loaded)
        except (AssertionError, ValueError, cv2.error) as error:
            raise UserError(f'{what} is read, but the test pipeline cannot prepare it: {first_line(error)}.') from error

    def predict(self, prepared: Sequence[dict]) -> list[dict]:
        """The results, as of a call, of images of :meth:`prepare`, in one forward pass. Of one thread at a time.

        Raises:
            UserError: if the images have several sizes.
        """
        return [self._result(None, sample) for sample in self.forward(self._collate(prepared))]

    def _init_pipeline(self, cfg: Config):
        """All of the test pipeline."""
        channels = self.model.backbone.stem[0].in_channels if hasattr(self.model.backbone, 'stem') else 3
        pipeline = pipeline_of(cfg)
        # a model without to_rgb gets files in the order in which they are read, BGR, and images in memory as they are
        wants_bgr = reads_files(pipeline) or bool(getattr(self.model.data_preprocessor, 'to_rgb', False))
        return self.use_pipeline(pipeline, channels, wants_bgr)

    def use_pipeline(self, pipeline: Sequence[dict], channels: int, wants_bgr: bool) -> Compose:
        """Prepare images with these steps; ``self.after_loading`` is what follows a loading step.

        Args:
            wants_bgr: the model's preprocessor gets colours in BGR order, not RGB.
        """
        steps = [TRANSFORMS.build(step) for step in pipeline]
        self.loads = bool(steps) and 'Load' in type(steps[0]).__name__
        self.loader = steps[0] if self.loads else None
        #: for images in memory, which do not come from the storage that the config names
        self.memory_loader = copy.copy(self.loader)
        for argument in ('backend_args', 'file_client_args'):
            if hasattr(self.memory_loader, argument):
                setattr(self.memory_loader, argument, None)
        self.after_loading = Compose(steps[1:] if self.loads else steps)
        self.wants_bgr = wants_bgr
        self.channels = channels
        self.pipeline = Compose(steps)
        return self.pipeline

    def _inputs_to_list(self, inputs) -> list:
        items = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        images = [image for item in items for image in expand(item)]
        if not images:
            raise UserError('there are no images to predict.')
        return images

    def preprocess(self, inputs: Iterable[ImageLike], batch_size: int = 1) -> Iterator[dict]:
        batch: list[dict] = []
        for image in inputs:
            batch.append(self.prepare(image))
            if len(batch) == batch_size:
                yield self._collate(batch)
                batch = []
        if batch:
            yield self._collate(batch)

    def _load_content(self, content: bytes) -> dict:
        """Load the content of a file with the loading step."""
        with in_memory(content) as path:
            try:
                return self.memory_loader(dict(img_path=path))
            except BadImageError as error:
                raise UserError(f'the image cannot be read: {error.reason}.') from error
            except UserError as error:
                raise UserError(str(error).replace(path, 'the image')) from error
            except (AssertionError, OSError, ValueError, cv2.error) as error:
                raise _unreadable(content, error) from error

    def _pixels(self, image: ImageLike) -> np.ndarray:
        """(H, W, C) in the order that the pipeline gives to the model's preprocessor."""
        if isinstance(image, Image.Image):
            as_stored, window = hasattr(self.loader, 'apply_window'), getattr(self.loader, 'window', None)
            array = pillow_pixels(image, self.channels, as_stored, window)
        elif isinstance(image, bytes) or (isinstance(image, str) and not image.endswith('.npy')):
            array = reason = None
            try:
                content = image if isinstance(image, bytes) else fileio.get(image)
                array = mmcv.imfrombytes(content, 'grayscale' if self.channels == 1 else 'color')
            except (ImportError, OSError, ValueError, URLError, HTTPException, cv2.error) as error:
                reason = error
            if array is None:
                raise _unreadable(image, reason) from reason
        elif isinstance(image, str):
            try:
                array = load_array(image)
            except (OSError, ValueError, SyntaxError) as error:
                raise _unreadable(image, error) from error
            self._require_range(array, image)
        else:
            array = np.asarray(image)
            require_numbers(array.dtype, 'an array')
            self._require_range(array, 'an array')
        if array.ndim == 2:
            array = np.repeat(array[..., None], 3, 2) if self.channels == 3 else array[..., None]
        if array.ndim != 3 or array.shape[2] != self.channels:
            raise UserError(f'an array of shape {array.shape} is not (H, W) or (H, W, {self.channels}).')
        if self.channels == 3 and not self.wants_bgr:
            array = array[..., ::-1]
        return np.ascontiguousarray(array)

    def _require_range(self, array: np.ndarray, what: str) -> None:
        reads_8_bits = self.loads and not hasattr(self.loader, 'apply_window')
        if reads_8_bits and getattr(self.loader, 'color_type', 'unchanged') != 'unchanged':
            require_8_bits(array, what)

    def _collate(self, batch: list[dict]) -> dict:
        sizes = {tuple(item['inputs'].shape[-2:]) for item in batch}
        if len(sizes) > 1:
            raise UserError(
                f'the images of a batch have several sizes after the test pipeline, among them {sorted(sizes)[:2]}: '
                'use a batch size of 1, or a config that resizes.'
            )
        return default_collate(batch)

    def visualize(self, inputs: Sequence[ImageLike], samples: Sequence, show_dir: str) -> None:
        """Write INDEX_NAME.png with the prediction for each image."""
        visualizer = FastVisualizer()
        for index, (image, sample) in enumerate(zip(inputs, samples)):
            stem = Path(image).stem if isinstance(image, str) else 'array'
            visualizer.visualize_cls(
                self._picture(image),
                sample.to('cpu'),
                classes=self.classes,
                draw_gt=False,
                out_file=str(Path(show_dir, f'{index:06d}_{stem}.png')),
            )

    def _picture(self, image: ImageLike) -> np.ndarray:
        """An image to draw: RGB or grey, 8 bits. As the test pipeline loads it where it does."""
        if isinstance(image, str) and not image.endswith('.npy') and self.loads:
            pixels, bgr = self.pipeline.transforms[0](dict(img_path=image))['img'], True
        elif isinstance(image, bytes) and self.loads:
            pixels, bgr = self._load_content(image)['img'], True
        else:
            pixels, bgr = self._pixels(image), self.wants_bgr
        if pixels.dtype != np.uint8:
            low, high = float(pixels.min()), float(pixels.max())
            pixels = ((pixels - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
        if pixels.ndim == 3 and pixels.shape[2] == 3 and bgr:
            pixels = pixels[..., ::-1]
        return np.ascontiguousarray(pixels)

    def _result(self, image: ImageLike, sample) -> dict:
        scores = sample.pred_score.detach().cpu()
        result = dict(img_path=image) if isinstance(image, str) else {}
        if self.decisions is not None:
            logits = sample.logits.cpu().numpy()
            if not np.isfinite(logits).all():  # nothing is decided of them
                return result | dict(logits=logits, pred_scores=scores.numpy())
            return result | decided_result(self.decisions, logits, self.classes)
        result['pred_scores'] = scores.numpy()
        if not torch.isfinite(scores).all():  # the largest of them is no class
            return result
        if self.multi_label:
            labels = sample.pred_label.tolist()
            result.update(pred_label=labels, pred_score=[scores[label].item() for label in labels])
            if self.classes is not None:
                result['pred_class'] = [self.classes[label] for label in labels]
        else:
            label = int(scores.argmax())
            result.update(pred_label=label, pred_score=scores[label].item())
            if self.classes is not None:
                result['pred_class'] = self.classes[label]
        return result


def require_as_many(classes: Sequence[str] | None, number: int | None) -> None:
    if classes and number is not None and len(classes) != number:
        raise UserError(f'{len(classes)} classes are named, but the model has {number}.')


def pipeline_of(cfg: Config) -> list[dict]:
    """The steps of the test pipeline.

    Raises:
        UserError: if there is none, or the data sets of the test set have several.
    """
    pipeline = config_pipeline(cfg.get('test_dataloader'), 'test_dataloader')
    if pipeline is None:
        raise UserError(
            'the config has no test_dataloader.dataset.pipeline, which says how images are prepared: set it, '
            "such as test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=[...]))."
        )
    refuse_reduced(pipeline, 'test_dataloader.dataset.pipeline')
    return pipeline


def _unreadable(image: str | bytes, error: BaseException | None) -> UserError:
    if isinstance(image, bytes):
        return UserError(f'the image cannot be read: {why_unreadable(image)}.')
    if isinstance(error, UserError):
        return error
    if isinstance(error, (URLError, HTTPException)):
        return UserError(f'{image} cannot be downloaded: {error}.')
    if isinstance(error, ImportError):  # of a storage's client
        return UserError(f'{image} cannot be read: {str(error).rstrip(".")}. Or copy it here and give its path.')
    reason = (
        ''
        if error is None or isinstance(error, (AssertionError, cv2.error))
        else f' ({str(error).splitlines()[0][:150]})'
    )
    return UserError(f'{image} cannot be read as an image{reason}: repair or remove it.')
