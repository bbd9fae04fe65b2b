"""Draws a model's features of many images in the plane."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dataset import default_collate
from mmengine.model import BaseModel

from mmdensenet.datasets.labels import POSITIVE_ABOVE
from mmdensenet.datasets.wrappers import sample_labels
from mmdensenet.errors import UserError
from mmdensenet.results.figures import COLOURS, MARKERS, new_figure, shorten
from mmdensenet.terminal import each


def choose_images(dataset, images: int = 1000, classes: int = 20, seed: int = 0) -> list[int]:
    """Ascending indices of at most ``images`` images, equally many of each class if there are enough.

    Args:
        dataset: a data set with labels, wrapped or not.
        classes: the number of classes from which images with one label are chosen, the first ones.
    """
    if images < 4 or classes < 1 or seed < 0:
        raise UserError(f'{images} images of {classes} classes, seed {seed}: give 4 or more, 1 or more, 0 or more.')
    of_class: dict[int, list[int]] = {}
    for index in range(len(dataset)):
        labels = sample_labels(dataset, index)
        if labels is None:
            raise UserError('the data set has no labels, or those of several tasks: there are no classes to draw.')
        of_class.setdefault(int(labels[0]) if len(labels) == 1 else -1, []).append(index)
    rng = np.random.default_rng(seed)
    if -1 in of_class:  # several labels or none
        order = rng.permutation(len(dataset))
    else:
        shuffled = [rng.permutation(of_class[label]) for label in sorted(of_class)[:classes]]
        rounds = max(map(len, shuffled))
        order = [int(part[i]) for i in range(rounds) for part in shuffled if i < len(part)]
    return sorted(int(index) for index in order[:images])


def pooled_features(
    model: BaseModel, dataset, indices: Sequence[int] | None = None, batch_size: int = 50
) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """The input of the classifier's last layer: the pooled final features.

    Args:
        model: an ImageClassifier, in evaluation mode.
        dataset: with the test pipeline.
        indices: of the images; None means all.
        batch_size: images of a forward pass.

    Returns:
        (N, C) float32, and each image's classes: one, or with several labels any number.

    Raises:
        UserError: for images of several sizes, and for features that are not finite.
    """
    indices = range(len(dataset)) if indices is None else indices
    features, labels = [], []
    for start in each(range(0, len(indices), batch_size), f'computing the features of {len(indices)} images'):
        items = [dataset[int(index)] for index in indices[start : start + batch_size]]
        sizes = {tuple(item['inputs'].shape) for item in items}
        if len(sizes) > 1:
            raise UserError(
                f'the test pipeline gives images of several sizes, among them {sorted(sizes)[:2]}: use a config that '
                'resizes.'
            )
        with torch.no_grad():
            batch = model.data_preprocessor(default_collate(items), False)
            found = model.extract_feat(batch['inputs'])
        found = found[-1] if isinstance(found, (tuple, list)) else found
        features.append((found.mean((2, 3)) if found.ndim == 4 else found.flatten(1)).float().cpu().numpy())
        labels += [_classes(sample) for sample in batch['data_samples']]
    features = np.concatenate(features)
    nonfinite = int((~np.isfinite(features).all(1)).sum())
    if nonfinite:
        raise UserError(
            f'the features of {nonfinite} of {len(features)} images are not all numbers: the weights or the images '
            'have NaN or infinite values.'
        )
    return features, labels


def tsne(features: np.ndarray, perplexity: float = 30, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, 2008) by scikit-learn: (N, C) to (N, 2), after PCA to at most 50 components.

    Args:
        features: (N, C).
        perplexity: roughly the number of effective neighbours; at most a third of the images.
        seed: of PCA and t-SNE.

    Raises:
        UserError: for a perplexity that is not above 0, and for fewer than 4 images.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = len(features)
    if perplexity <= 0:
        raise UserError(f'perplexity {perplexity:g}: give more than 0.')
    if count < 4:
        raise UserError(f'{count} images: t-SNE needs 4 or more.')
    components = min(50, *features.shape)
    reduced = PCA(components, random_state=seed).fit_transform(features) if features.shape[1] > 50 else features
    settings = dict(perplexity=min(perplexity, (count - 1) / 3), random_state=seed, init='pca', learning_rate='auto')
    return TSNE(2, **settings).fit_transform(reduced)


def embedding_figure(
    points: np.ndarray, labels: Sequence[tuple[int, ...]], classes: Sequence[str] | None = None, title: str = ''
) -> Figure:
    """A point for each image; colour and marker show its class, or combination of labels (the 10 most frequent)."""
    groups = _groups(labels, classes)
    count = len(set(groups))
    long = max(len(name) for name in groups)
    columns = 1 + (count - 1) // 26
    figure = new_figure(6.2 + columns * min(0.5 + 0.085 * long, 3), 6, title)
    axes = figure.add_subplot()
    order = list(dict.fromkeys(name for _, name in sorted(zip(map(_rank(labels, groups), groups), groups))))
    names = np.array(groups)
    size = 28 if len(points) <= 400 else 14
    for i, name in enumerate(order):
        own = points[names == name]
        style = dict(color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)])
        axes.scatter(own[:, 0], own[:, 1], s=size, alpha=0.75, linewidths=0, label=name, **style)
    axes.set(xlabel='t-SNE 1', ylabel='t-SNE 2', xticks=[], yticks=[])
    figure.legend(loc='outside right center', fontsize='small', markerscale=1.5, ncols=columns)
    return figure


def _classes(sample) -> tuple[int, ...]:
    if 'gt_label' in sample:
        return tuple(sample.gt_label.tolist())
    return tuple(torch.nonzero(sample.gt_score > POSITIVE_ABOVE).flatten().tolist())


def _groups(labels: Sequence[tuple[int, ...]], classes: Sequence[str] | None) -> list[str]:
    def name(label: int) -> str:
        return str(label) if classes is None else shorten(classes[label], 20)

    names = [' + '.join(map(name, some)) or 'no label' for some in labels]
    if all(len(some) == 1 for some in labels):
        return names
    frequent = {name for name, _ in Counter(names).most_common(10)}
    return [name if name in frequent else 'others' for name in names]


def _rank(labels: Sequence[tuple[int, ...]], groups: Sequence[str]):
    """A sort key of groups: classes in order, combinations by their number of labels, 'others' last."""
    of_group = {group: (len(some), some) for some, group in zip(labels, groups)}
    of_group['others'] = (1 << 30, ())
    return lambda group: of_group[group]
