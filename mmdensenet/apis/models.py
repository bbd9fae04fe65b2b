"""Models by name, with weights."""

import contextlib
import fnmatch
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmengine.utils import get_installed_path

from mmdensenet.checkpoints.checkpoint_content import not_finite, require_weights
from mmdensenet.checkpoints.checkpoint_meta import DECISIONS
from mmdensenet.convert.coverage import CheckpointCoverageHook
from mmdensenet.convert.on_load import fit_checkpoint
from mmdensenet.datasets import stated_classes
from mmdensenet.datasets.class_lists import ClassList, require_same_classes
from mmdensenet.datasets.stated_classes import names_in, names_in_checkpoint
from mmdensenet.datasets.wrappers import leaf_configs
from mmdensenet.errors import UserError
from mmdensenet.similar import did_you_mean, similar_path

from .config import DATA_ONLY, LOADERS, load_to_build, named
from .runner import fetch_checkpoint, fetch_weights_of
from .tasks import require_one_task


def list_models(pattern: str | None = None) -> list[str]:
    """The names of our configs, which :func:`get_model` takes, in the model zoo's order.

    Args:
        pattern: with wildcards, such as '*bc*' or 'densenet121*'. None gives all.

    >>> list_models('*digits*')
    ['densenet-bc-l22-k12_1xb32_digits']
    """
    names = [row['Name'] for row in _zoo()]
    return names if pattern is None else fnmatch.filter(names, pattern)


def get_model(
    model: str | Config,
    pretrained: bool | str = False,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    device: str | torch.device | None = None,
) -> BaseModel:
    """A classifier, in evaluation mode.

    Args:
        model: a name of :func:`list_models`; its first part, such as 'densenet121' or 'densenet-bc-l100-k12', for the
            first config of that architecture; the path of a config file; or a config.
        pretrained: True for the model zoo's weights, downloaded once and compared with the hash in their name; or the
            path or URL of a checkpoint in any layout that :mod:`mmdensenet.convert` knows. False initialises anew.
        num_classes: for other classes than the config's. The head of pretrained weights for other classes starts anew.
        in_channels: for other images than the config's; 1 reads images as grey. Pretrained weights' first convolution
            is adapted.
        device: where the model is put; by default the CPU.

    Returns:
        mmpretrain's ImageClassifier; ``model.backbone`` is the :class:`mmdensenet.models.DenseNet`. ``model._config``
        is the config, ``model._dataset_meta`` has the names of the classes where they are known, and with weights
        ``model._checkpoint_meta`` has what else the checkpoint says.

    Raises:
        UserError: for an unknown name, weights that do not exist, cannot be downloaded or are of another model.
    """
    cfg, name = named_config(model)
    if in_channels is not None:
        set_in_channels(cfg, in_channels)
    if num_classes is not None:
        _set_num_classes(cfg, num_classes)
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    from mmpretrain.registry import MODELS

    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    source = None
    if pretrained:
        source = _weights_of(name) if pretrained is True else str(pretrained)
        fetch_checkpoint(source)
    else:
        fetch_weights_of(cfg.model)
    built = MODELS.build(cfg.model)
    classes = None
    if source is not None:
        classes = load_weights(built, source, num_classes is not None, in_channels is not None)
        built._is_init = True  # a runner would initialise it again
        if num_classes is not None or in_channels is not None:  # the weights become others
            built._checkpoint_meta.pop(DECISIONS, None)
    else:
        with _without_a_line_for_each_parameter():
            built.init_weights()
    built._config = cfg
    built._dataset_meta = {'classes': classes or class_names(cfg)}
    return built.to(require_device(device)).eval()


def require_device(device: str | torch.device | None) -> str | torch.device:
    """The device, of None the CPU.

    Raises:
        UserError: if there is no such device here.
    """
    try:
        torch.empty(0, device=device or 'cpu')
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0][:150]
        raise UserError(f'device {device!r} cannot be used here ({reason}): give cpu, or leave it out.') from error
    return device or 'cpu'


@contextlib.contextmanager
def _without_a_line_for_each_parameter() -> Iterator[None]:
    """Raise the log level: mmengine logs the initialisation of every parameter, which belongs in a run's log only."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def load_weights(model: BaseModel, source: str, head_may_differ: bool, fit_channels: bool) -> list[str] | None:
    """Load a checkpoint of any layout into a classifier.

    Args:
        head_may_differ: leave the head as it is where the checkpoint's is for other classes.
        fit_channels: adapt the first convolution.

    Returns:
        The names of the classes, where the checkpoint has them for this number.

    Raises:
        UserError: if it does not fit.
    """
    checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu', logger='silent')
    require_weights(checkpoint, source)
    fit_checkpoint(model, checkpoint, fit_channels=fit_channels)
    hook = CheckpointCoverageHook(source, head_may_differ)
    hook.after_load_checkpoint(SimpleNamespace(model=model), checkpoint)
    given = checkpoint.get('state_dict', checkpoint)
    given = {key.removeprefix('module.'): value for key, value in given.items() if isinstance(value, torch.Tensor)}
    if problem := not_finite(given):
        logging.getLogger('mmdensenet').warning('%s: %s.', source, problem)
    own = model.state_dict()
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    if any(key.startswith('head.') and key not in fitting for key in own):  # a part of a head, as without its bias
        fitting = {key: value for key, value in fitting.items() if not key.startswith('head.')}
    model.load_state_dict(fitting, False)
    meta = checkpoint.get('meta')
    model._checkpoint_meta = meta if isinstance(meta, dict) else {}
    classes = names_in_checkpoint(meta)
    return list(classes) if classes and len(classes) == getattr(model.head, 'num_classes', None) else None


def require_classes_of(model: BaseModel, lists: Sequence[ClassList], source: str) -> None:
    """Compare the classes of data with those that the weights of a model of :func:`get_model` were trained for.

    Args:
        source: what to call the weights in the message.

    Raises:
        UserError: naming the classes that differ.
    """
    names = names_in_checkpoint(getattr(model, '_checkpoint_meta', None))
    trained = [ClassList(source, names, is_checkpoint=True)] if names else []
    require_same_classes([*trained, *lists])


def names_of(model: BaseModel, source: str) -> list[str] | None:
    """The names of a model's classes, from its checkpoint or else its config.

    Raises:
        UserError: if both have names, and other ones.
    """
    cfg = model._config
    stated = [ClassList('test_dataloader.dataset', tuple(map(str, names)))] if (names := class_names(cfg)) else []
    require_classes_of(model, stated, source)
    return (getattr(model, '_dataset_meta', None) or {}).get('classes') or names


def class_names(cfg: Config) -> list[str] | None:
    """Return the class names of a config, where its data set has them without data, as ImageNet, CIFAR or SVHN."""
    from mmpretrain.registry import DATASETS

    _, dataset = next(leaf_configs((cfg.get('test_dataloader') or {}).get('dataset')), ('', {}))
    classes = (dataset.get('metainfo') or {}).get('classes') or dataset.get('classes') or dataset.get('label_columns')
    if isinstance(classes, str):
        classes = stated_classes.class_names(classes) if Path(classes).expanduser().is_file() else None
    kind = dataset.get('type')
    if not classes and kind:
        kind = kind if isinstance(kind, type) else DATASETS.get(kind)
        classes = (getattr(kind, 'METAINFO', None) or {}).get('classes')
    names = names_in(classes)
    return list(names) if names and len(names) == cfg.model.head.get('num_classes') else None


def set_in_channels(cfg: Config, in_channels: int) -> None:
    """Change a config for images of other channels: backbone, mean and standard deviation, and how images are read."""
    if in_channels < 1:
        raise UserError(f'in_channels={in_channels}: give 1 or more.')
    cfg.model.backbone.in_channels = in_channels
    preprocessor = cfg.get('data_preprocessor') or {}
    for key in ('mean', 'std'):
        values = preprocessor.get(key)
        if values and len(values) != in_channels:
            average = sum(values) / len(values)
            preprocessor[key] = [average] * in_channels
    if in_channels != 3 and preprocessor:
        preprocessor['to_rgb'] = False
    for loader in LOADERS:
        for _, leaf in leaf_configs((cfg.get(loader) or {}).get('dataset')):
            for step in leaf.get('pipeline') or ():
                if in_channels == 1 and str(step.get('type')).rpartition('.')[2] == 'LoadImageFromFile':
                    step['color_type'] = 'grayscale'


def _set_num_classes(cfg: Config, num_classes: int) -> None:
    if num_classes < 1:
        raise UserError(f'num_classes={num_classes}: give 1 or more.')
    require_one_task(cfg.model.head, 'num_classes')
    cfg.model.head.num_classes = num_classes
    if cfg.model.head.get('topk'):
        cfg.model.head.topk = tuple(k for k in cfg.model.head.topk if k <= num_classes) or (1,)
    if cfg.get('data_preprocessor'):
        cfg.data_preprocessor.num_classes = num_classes


def named_config(model: str | Config, argument: str = 'model') -> tuple[Config, str | None]:
    """A copy of the config that :func:`get_model` builds, and its name in the model zoo.

    Args:
        argument: what to call ``model`` in messages.

    Raises:
        UserError: for a name and a file that do not exist.
    """
    if isinstance(model, Config):
        cfg = Config(ConfigDict(model.to_dict()), filename=model.filename)
        return named(cfg), Path(model.filename or '').stem or None
    if '::' in model or model.endswith(('.py', *DATA_ONLY)):
        return load_to_build(model), Path(model.partition('::')[2] or model).stem
    names = [row['Name'] for row in _zoo()]
    name = model if model in names else next((n for n in names if n.partition('_')[0] == model), None)
    if name is None:
        if Path(model).is_file():
            raise UserError(
                f'{argument} {model} is a file, but neither a config (.py) nor of `mmdensenet export` (.onnx, .xml, '
                '.pt2). Weights are a checkpoint: give it with the config that they were trained with.'
            )
        known = [*names, *(n.partition('_')[0] for n in names)]
        hint = did_you_mean(model, known) or similar_path(model)
        raise UserError(f'{argument} {model} does not exist.{hint} mmdensenet.list_models() has the names.')
    return load_to_build(f'mmdensenet::{name}.py'), name


def published_weights() -> dict[str, str]:
    """The URLs of the model zoo's weights, by the names of :func:`list_models`."""
    return {row['Name']: row['Weights'] for row in _zoo() if 'Weights' in row}


def _weights_of(name: str | None) -> str:
    there = published_weights()
    if name not in there:
        raise UserError(
            f'{name or "this config"} has no published weights; these have: {", ".join(there)}. Else give a checkpoint.'
        )
    return there[name]


def _zoo() -> list[dict]:
    file = Path(get_installed_path('mmdensenet'), '.mim', 'configs', 'metafile.yml')
    return yaml.safe_load(file.read_text(encoding='utf-8'))['Models']
