"""A model as the server uses it: any thread prepares images, one thread predicts and explains."""

import base64
import importlib.util
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.model import BaseModel

from mmdensenet.errors import UserError
from mmdensenet.extras import install_command
from mmdensenet.results.decided import decided_result, plain_decision
from mmdensenet.results.scores import best_classes

from .images import RefusedRequestError, check_image

#: the most pixels for an exported file that resizes images itself: they wait in memory at full size, 48 MiB each
MAX_WHOLE = 1 << 24


class Predictor:
    """An opened model as the server uses it.

    Args:
        inferencer: of :func:`mmdensenet.apis.open_inferencer`.
        max_pixels: larger images are refused before they are decoded.
        max_input: the limit for images, and for the sum over a forward pass, if the test pipeline does not resize (as
            CIFAR's): the network's memory and time grow with the pixels.

    An exported file that resizes images itself gets images of up to ``MAX_WHOLE`` pixels.
    """

    def __init__(self, inferencer, max_pixels: int = 50_000_000, max_input: int = 1 << 18):
        self.inferencer = inferencer
        self.decisions = getattr(inferencer, 'decisions', None)
        self.dicom = hasattr(getattr(inferencer, 'loader', None), 'apply_window')
        metadata = getattr(inferencer, 'metadata', None)
        any_size = metadata is not None and metadata.any_size
        #: (height, width) of an exported file's input; None if any will do
        self.size = None if metadata is None or any_size else tuple(metadata.size)
        resizes = any_size or self._blank(64, 64)['inputs'].shape == self._blank(96, 80)['inputs'].shape
        self.max_input = None if resizes else max_input
        self.max_pixels = min(max_pixels, MAX_WHOLE if any_size else max_pixels if resizes else max_input)
        #: why there is no Grad-CAM; None if there is
        self.no_cam = _why_no_cam(inferencer)

    def prepare(self, content: bytes) -> tuple[tuple[int, int], dict]:
        """(width, height) of the image, rotated by its EXIF data, and the output of the test pipeline.

        Raises:
            RefusedRequestError: if it is no image, too large or damaged.
        """
        size = check_image(content, self.max_pixels, self.dicom)
        try:
            prepared = self.inferencer.prepare(content)
        except UserError as error:
            raise RefusedRequestError(422, _sentence(error)) from error
        if turned := getattr(prepared.get('data_samples'), 'ori_shape', None):
            size = turned[1], turned[0]
        height, width = prepared['inputs'].shape[1:]
        if self.size not in (None, (height, width)):
            raise RefusedRequestError(
                422,
                f'The image has {width} x {height} pixels after the test pipeline; this exported model takes '
                f'{self.size[1]} x {self.size[0]} only.',
            )
        return size, prepared

    def predict(self, prepared: Sequence[dict]) -> list[np.ndarray]:
        """One number per class for each image: scores, or logits if the model has decisions."""
        given = 'pred_scores' if self.decisions is None else 'logits'
        results = self._by_size(prepared, prepared, self.inferencer.predict)
        return [result[given] for result in results]

    def answer(self, given: np.ndarray, topk: int) -> tuple[int, dict]:
        """The class with the highest score, and the response for an image's result of :meth:`predict`."""
        if self.decisions is None:
            return int(given.argmax()), dict(predictions=self.best(given, topk))
        classes = self.inferencer.classes
        result = decided_result(self.decisions, given, classes)
        scores = result['pred_scores']
        decision = plain_decision(result, classes)
        return int(scores.argmax()), dict(predictions=self.best(scores, topk), decision=decision)

    def activations(self, wanted: Sequence[tuple[dict, int]]) -> list[np.ndarray]:
        """The Grad-CAM map, (H, W) from 0 to 1, of each (prepared image, class)."""
        from mmdensenet.analysis.cam import class_activation

        def of_one_size(pairs: list[tuple[dict, int]]) -> list[np.ndarray]:
            batch = default_collate([prepared for prepared, _ in pairs])
            with torch.no_grad():
                inputs = self.inferencer.model.data_preprocessor(batch, False)['inputs']
            return list(class_activation(self.inferencer.model, inputs, [label for _, label in pairs]))

        return self._by_size(wanted, [prepared for prepared, _ in wanted], of_one_size)

    def pictures(self, prepared: dict, activation: np.ndarray) -> dict[str, str]:
        """``input``, the image that the model saw, and ``overlay``, the same under the map: data URLs of PNG files."""
        from mmdensenet.analysis.cam import overlay

        seen = self.seen(prepared)
        height, width = seen.shape[:2]
        return dict(input=_png(seen), overlay=_png(overlay(seen, activation[:height, :width])))

    def seen(self, prepared: dict) -> np.ndarray:
        """The image as it comes out of the test pipeline, (H, W, 3) RGB uint8."""
        pixels = prepared['inputs'].permute(1, 2, 0).numpy()
        if pixels.dtype != np.uint8:
            full = 1.0 if pixels.max() <= 1 else 255.0
            pixels = np.uint8(np.rint(np.clip(pixels * (255 / full), 0, 255)))
        if pixels.shape[2] == 1:
            return np.repeat(pixels, 3, 2)
        return np.ascontiguousarray(pixels[..., ::-1] if self.inferencer.wants_bgr else pixels)

    def best(self, scores: np.ndarray, count: int) -> list[dict]:
        return best_classes(scores, self.inferencer.classes, count)

    def warm_up(self) -> None:
        """Predict and explain once, so that the first user does not wait for one-time work."""
        blank = self._blank(*(self.size or (64, 64)))
        self.predict([blank])
        if self.no_cam is None:
            self.activations([(blank, 0)])

    def _by_size(self, items: Sequence, prepared: Sequence[dict], run: Callable[[list], Sequence]) -> list:
        """Call ``run`` for the items of each size; return the results in the items' order."""
        groups: dict[tuple, list[int]] = {}
        for index, image in enumerate(prepared):
            groups.setdefault(tuple(image['inputs'].shape), []).append(index)
        results: list = [None] * len(items)
        for (_, height, width), indices in groups.items():
            at_once = len(indices) if self.max_input is None else max(1, self.max_input // (height * width))
            for part in (indices[i : i + at_once] for i in range(0, len(indices), at_once)):
                for index, result in zip(part, run([items[index] for index in part])):
                    results[index] = result
        return results

    def _blank(self, height: int, width: int) -> dict:
        """A prepared black image of this size."""
        if self.dicom:  # as after loading, because files may have to state a window
            image = np.zeros((height, width), np.float32)
            return self.inferencer.after_loading(dict(img=image, img_shape=image.shape, ori_shape=image.shape))
        return self.inferencer.prepare(np.zeros((height, width, self.inferencer.channels), np.uint8))


def _why_no_cam(inferencer) -> str | None:
    if not isinstance(getattr(inferencer, 'model', None), BaseModel):
        return 'An exported file has no Grad-CAM: serve its config and checkpoint.'
    if inferencer.channels not in (1, 3):
        return f'There is no picture of {inferencer.channels} channels.'
    if importlib.util.find_spec('pytorch_grad_cam') is None:
        return f'Grad-CAM needs grad-cam. Run: {install_command("serve")}'
    return None


def _png(image: np.ndarray) -> str:
    done, content = cv2.imencode('.png', image[..., ::-1])
    if not done:
        raise RuntimeError('the picture cannot be written as PNG')
    return 'data:image/png;base64,' + base64.b64encode(content).decode('ascii')


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
