"""Class activation maps, which show where in an image the evidence for a class is; the library grad-cam computes
them."""

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdensenet.errors import UserError
from mmdensenet.extras import install_command

#: the library's class for each method
METHODS = {'gradcam': 'GradCAM', 'gradcam++': 'GradCAMPlusPlus', 'layercam': 'LayerCAM'}

#: perceptually uniform, also for colour-blind readers
COLOURS = matplotlib.colormaps['inferno']


def class_activation(
    model: BaseModel,
    inputs: Tensor,
    targets: Sequence[int] | Tensor | None = None,
    method: str = 'gradcam',
    *,
    layer: str | None = None,
) -> np.ndarray:
    """Grad-CAM (arXiv:1610.02391), Grad-CAM++ (arXiv:1710.11063) or LayerCAM of each image.

    By default the maps are of the final features, after the last norm and ReLU: the backbone runs fused and without
    gradients, and only neck and head are differentiated. The model, its gradients and its modes do not change.

    Args:
        model: an ImageClassifier, as of :func:`mmdensenet.get_model`, also for several labels: a map is of one class.
        inputs: the normalised batch (N, C, H, W).
        targets: the class of each image's map, (N,); None uses the class with the highest score.
        method: 'gradcam', 'gradcam++' or 'layercam', which suits early layers.
        layer: another module, such as 'backbone.stages.1'. Gradients then go through a copy of the network whose dense
            blocks are computed by the reference.

    Returns:
        (N, H, W) float32, each map scaled to 0..1; all 0 where there is no evidence for the class.

    Raises:
        UserError: if the library is not installed; method, layer or a target does not exist; a layer gives no maps;
            scores are not finite.
    """
    if method not in METHODS:
        raise UserError(f'method {method!r}: choose one of {", ".join(METHODS)}.')
    weight = next(model.parameters())
    if weight.dtype not in (torch.float32, torch.float64):
        raise UserError(f'activation maps need a model in float32, this one is in {weight.dtype}: call model.float().')
    library = require_grad_cam()
    with torch.inference_mode(False), torch.enable_grad():
        # tensors of a caller's inference_mode have no gradients
        inputs = inputs.detach().to(weight.device, weight.dtype).clone()
        if layer is not None:
            network = _Copy(model).eval()
            module = _find(network, layer)
            _require_maps(network, module, layer, inputs[:1])
            return _activation(library, method, network, module, inputs, targets)
        with _evaluating(model.backbone):
            network = _Head(model).eval()
            return _activation(library, method, network, network.features, inputs, targets)


def overlay(image: np.ndarray, cam: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """An image overlaid with its map in colours from black (0) over red to yellow (1).

    Args:
        image: (H, W, 3) RGB or (H, W) grey, uint8.
        cam: (h, w) from 0 to 1; resized to the image.
        opacity: of the colours, from 0 to 1.

    Returns:
        (H, W, 3) RGB, uint8.
    """
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    height, width = image.shape[:2]
    if cam.shape != (height, width):
        cam = cv2.resize(np.float32(cam), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = COLOURS(np.clip(cam, 0, 1))[..., :3] * 255
    return np.uint8(np.rint((1 - opacity) * image + opacity * colours))


def add_colour_bar(figure: Figure) -> None:
    """Add a colour bar to a figure of maps."""
    figure.set_figwidth(figure.get_figwidth() + 0.9)
    label = "evidence, relative to the image's largest"
    figure.colorbar(ScalarMappable(Normalize(0, 1), COLOURS), ax=figure.axes, label=label, fraction=0.05, shrink=0.8)


def colour_scale() -> list[str]:
    """Nine evenly spaced colours of a map from 0 to 1, as '#rrggbb'."""
    return [to_hex(COLOURS(value)) for value in np.linspace(0, 1, 9)]


class _Head(nn.Module):
    """The classifier with gradients from the final features on; the library reads them at ``features``.

    Neck and head are copies, so that no parameter of the model gets a gradient.
    """

    def __init__(self, model: BaseModel):
        super().__init__()
        self.backbone = model.backbone
        self.neck, self.head = _copied(model.neck if model.with_neck else nn.Identity()), _copied(model.head)
        self.features = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            *early, last = self.backbone(inputs)
        return self.head(self.neck((*early, self.features(last.detach().requires_grad_()))))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Do nothing: the library calls this, and the gradients of the backbone belong to the caller."""


class _Copy(nn.Module):
    """A copy of the classifier that calls every module, for gradients with respect to activations."""

    def __init__(self, model: BaseModel):
        super().__init__()
        self.backbone = _copied(model.backbone)
        self.neck, self.head = _copied(model.neck if model.with_neck else nn.Identity()), _copied(model.head)
        for module in self.modules():
            if hasattr(module, 'engine'):
                module.engine = 'reference'
            if getattr(module, 'inplace', False):
                module.inplace = False  # it would overwrite saved activations

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.neck(self.backbone(inputs.requires_grad_())))


def _copied(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).requires_grad_(False)


def _score(label: int, scores: Tensor) -> Tensor:
    """The score of one class, from whose gradient the map is computed."""
    if not 0 <= label < len(scores):
        raise UserError(f'class {label} does not exist: the model has the classes 0 to {len(scores) - 1}.')
    return scores[label]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _activation(library, method: str, network: nn.Module, layer: nn.Module, inputs: Tensor, targets) -> np.ndarray:
    scores = None
    if targets is not None:
        labels = [int(label) for label in targets]
        if len(labels) != len(inputs):
            raise UserError(f'there are {len(labels)} targets for {len(inputs)} images.')
        scores = [partial(_score, label) for label in labels]
    cam = getattr(library, METHODS[method])(model=network, target_layers=[layer])
    handle = network.register_forward_hook(_require_finite)
    try:
        return np.nan_to_num(np.float32(cam(input_tensor=inputs, targets=scores)))
    finally:
        handle.remove()
        cam.activations_and_grads.release()


def _require_finite(network: nn.Module, inputs, scores: Tensor) -> None:
    """Raise UserError for scores that are not finite: their map would look like that of a class without evidence."""
    if not torch.isfinite(scores).all():
        raise UserError('the scores are not finite numbers: the weights or the images have NaN or infinite values.')


def require_grad_cam():
    """The library grad-cam. Raises UserError if it is not installed."""
    try:
        import pytorch_grad_cam
    except ImportError as error:
        raise UserError(f'activation maps need grad-cam ({error}). Run: {install_command("see")}') from error
    return pytorch_grad_cam


def _require_maps(network: nn.Module, module: nn.Module, name: str, inputs: Tensor) -> None:
    outputs: list = []
    handle = module.register_forward_hook(lambda *call: outputs.append(call[-1]))
    with torch.no_grad():
        network(inputs)
    handle.remove()
    if not outputs or not all(isinstance(output, Tensor) and output.ndim == 4 for output in outputs):
        raise UserError(f'layer {name!r} gives no feature maps (N, C, H, W): choose one such as backbone.stages.0.')


def _find(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    if name not in modules or not name:
        stages = [key for key in modules if re.fullmatch(r'backbone\.(stages|transitions)\.\d+', key)]
        raise UserError(f'layer {name!r} does not exist; there are, among others, {", ".join(stages)}.')
    return modules[name]
