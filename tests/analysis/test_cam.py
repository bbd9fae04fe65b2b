"""mmdensenet.analysis.cam: the maps, and that the model is as before."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers import randomise

from mmdensenet.analysis.cam import class_activation, overlay
from mmdensenet.errors import UserError

pytest.importorskip('pytorch_grad_cam', reason='grad-cam is not installed')

ARCH = dict(growth_rate=4, depths=(2, 2), init_channels=8)


@pytest.fixture
def build():
    """``build(engine=...)``: a small DenseNet with random weights, for images with ``channels`` channels."""

    def make(engine='auto', channels=3, multi_label=False, stem='cifar', **options):
        from mmpretrain.registry import MODELS

        import mmdensenet  # noqa: F401

        backbone = dict(
            type='mmdensenet.DenseNet', arch=ARCH, in_channels=channels, stem=stem, engine=engine, **options
        )
        head = dict(type='MultiLabelLinearClsHead' if multi_label else 'LinearClsHead', num_classes=5, in_channels=16)
        cfg = dict(
            type='mmpretrain.ImageClassifier',
            backbone=backbone,
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head={**head, 'type': f'mmpretrain.{head["type"]}'},
        )
        return randomise(MODELS.build(cfg), seed=1).eval()

    return make


def images(count=2, channels=3, size=16, seed=0):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def state(model):
    """Everything about a model that a map must not change."""
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        {name: (p.requires_grad, p.grad is None or p.grad.clone()) for name, p in model.named_parameters()},
        {name: (m.training, len(m._forward_hooks)) for name, m in model.named_modules()},
        [getattr(module, 'engine', None) for module in model.modules()],
    )


def assert_same_map(actual, expected, tolerance=1e-4):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=tolerance)


def by_hand(model, inputs, targets):
    """Equations 1 and 2 of the Grad-CAM paper; the features are those of the backbone's only output."""
    features = model.backbone(inputs)[-1].detach().requires_grad_()
    scores = model.head(model.neck((features,)))
    scores[range(len(inputs)), targets].sum().backward()
    weights = features.grad.mean((2, 3), keepdim=True)
    return torch.relu((weights * features.detach()).sum(1))


@pytest.mark.parametrize('engine', ['auto', 'fused', 'reference'])
@pytest.mark.parametrize('stem', ['cifar', 'imagenet'])
def test_it_is_grad_cam(build, engine, stem):
    model, inputs = build(engine, stem=stem), images(3, size=32)
    targets = model(inputs, mode='tensor').argmax(1).tolist()
    maps = class_activation(model, inputs, targets)
    assert maps.shape == (3, 32, 32)
    assert maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() <= 1
    small = by_hand(model, inputs, targets)[:, None]
    assert (small.amax((1, 2, 3)) > 0).sum() >= 2
    full = torch.nn.functional.interpolate(small, size=(32, 32), mode='bilinear', align_corners=False)[:, 0]
    full = full - full.amin((1, 2), keepdim=True)
    assert_same_map(maps, (full / full.amax((1, 2), keepdim=True).clamp_min(1e-7)).numpy())


@pytest.mark.parametrize('method', ['gradcam', 'gradcam++', 'layercam'])
@pytest.mark.parametrize('layer', [None, 'backbone.stages.0', 'backbone.transitions.1.0'])
def test_engines_agree_and_the_model_is_left_alone(build, method, layer):
    model, reference, inputs = build('auto'), build('reference'), images()
    model.head.fc.weight.grad = torch.ones_like(model.head.fc.weight)
    model.backbone.stem.requires_grad_(False)
    model.backbone.train()
    before = state(model)
    maps = class_activation(model, inputs, [1, 2], method, layer=layer)
    after = state(model)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert str(after[1:]) == str(before[1:])
    assert maps.max() > 0.9
    assert_same_map(maps, class_activation(reference, inputs, [1, 2], method, layer=layer))


def test_the_last_transition_is_the_final_features(build):
    model, inputs = build(), images()
    assert_same_map(
        class_activation(model, inputs, [1, 2]), class_activation(model, inputs, [1, 2], layer='backbone.transitions.1')
    )


def test_the_predicted_class_is_the_default(build):
    model, inputs = build(), images()
    predicted = model(inputs, mode='tensor').argmax(1)
    other = (predicted + 1) % 5
    assert_same_map(class_activation(model, inputs), class_activation(model, inputs, predicted))
    assert np.abs(class_activation(model, inputs) - class_activation(model, inputs, other)).max() > 0.1


@pytest.mark.parametrize(
    'kind', [dict(multi_label=True), dict(channels=1), dict(bottleneck=False), dict(channels_last=True)]
)
def test_other_models(build, kind):
    maps = class_activation(build(**kind), images(channels=kind.get('channels', 3)), [0, 1])
    assert maps.shape == (2, 16, 16)
    assert maps.reshape(2, -1).max(1) == pytest.approx(1, abs=1e-5)


def test_an_image_does_not_depend_on_its_batch(build):
    model, inputs = build(), images(3)
    one = class_activation(model, inputs[1:2], [2])
    assert_same_map(class_activation(model, inputs, [0, 2, 1])[1:2], one)


def test_inside_inference_mode_and_frozen(build):
    model, inputs = build().requires_grad_(False), images()
    expected = class_activation(model, inputs)
    with torch.inference_mode():
        assert_same_map(class_activation(model, inputs * 1), expected)
    with torch.no_grad():
        assert_same_map(class_activation(model, inputs), expected)
    assert not any(p.requires_grad for p in model.parameters())


def test_threads_do_not_disturb_each_other(build):
    model, inputs = build(), images(4)
    expected, scores = class_activation(model, inputs, [0, 1, 2, 3]), model(inputs, mode='tensor').detach()

    def work(number):
        if number % 2:
            with torch.no_grad():
                return model(inputs, mode='tensor')
        return class_activation(model, inputs, [0, 1, 2, 3])

    with ThreadPoolExecutor(4) as pool:
        for number, result in enumerate(pool.map(work, range(24))):
            np.testing.assert_allclose(result, scores if number % 2 else expected, atol=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_speaks_for_the_class(build):
    model = build()
    model.head.fc.weight.data.abs_().neg_()
    maps = class_activation(model, images(), [0, 1])
    assert maps.max() == 0


def test_mistakes_are_named(build):
    model = build()
    with pytest.raises(UserError, match="method 'saliency': choose one of gradcam"):
        class_activation(model, images(), method='saliency')
    with pytest.raises(UserError, match='class 5 does not exist: the model has the classes 0 to 4'):
        class_activation(model, images(), [0, 5])
    with pytest.raises(UserError, match='1 targets for 2 images'):
        class_activation(model, images(), [0])
    with pytest.raises(UserError, match=r"layer 'stages.0' does not exist.*backbone.stages.0"):
        class_activation(model, images(), layer='stages.0')
    for layer in ('head.fc', 'neck', 'backbone'):
        with pytest.raises(UserError, match=f"layer '{layer}' gives no feature maps"):
            class_activation(model, images(), layer=layer)
    with pytest.raises(UserError, match=r'model\.float\(\)'):
        class_activation(model.to(torch.bfloat16), images())


@pytest.mark.parametrize('layer', [None, 'backbone.stages.0'])
def test_scores_that_are_not_finite_have_no_map(build, layer):
    """Whose map would be 0 everywhere, as where nothing speaks for the class."""
    model = build()
    model.head.fc.weight.data[1, 0] = float('nan')
    for targets in (None, [0, 0]):
        with pytest.raises(UserError, match='scores are not finite numbers'):
            class_activation(model, images(), targets, layer=layer)
    assert not model.head._forward_hooks


def test_overlay():
    image = np.full((8, 6, 3), 200, np.uint8)
    cam = np.zeros((4, 3), np.float32)
    cam[0, 0] = 1
    picture = overlay(image, cam)
    assert picture.shape == (8, 6, 3)
    assert picture.dtype == np.uint8
    assert (picture[-1, -1] == [100, 100, 102]).all()  # half of the image, half of the map's near-black
    red, _, blue = picture[0, 0].astype(int)
    assert red > blue + 30  # yellow
    assert (overlay(image, cam, opacity=0) == image).all()
    grey = overlay(image[..., 0], cam)
    assert (grey == picture).all()
