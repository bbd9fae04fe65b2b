"""mmdensenet.analysis.embedding: features, their choice and their picture."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import write_images
from mmpretrain.structures import DataSample

from mmdensenet.analysis.embedding import choose_images, embedding_figure, pooled_features, tsne
from mmdensenet.apis import get_model, load_config
from mmdensenet.errors import UserError


@pytest.fixture
def digits(short_config):
    from mmpretrain.registry import DATASETS

    model = get_model(load_config(str(short_config())))
    return model, DATASETS.build(model._config.test_dataloader.dataset)


class Labels:
    """A data set that only knows its labels."""

    def __init__(self, *labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_cat_ids(self, index):
        return self.labels[index]


def test_images_are_chosen_equally_of_each_class():
    dataset = Labels(*[[0]] * 50, *[[1]] * 30, *[[2]] * 3, *[[3]] * 40)
    chosen = choose_images(dataset, 23)
    assert chosen == sorted(set(chosen))
    counts = Counter(dataset.labels[index][0] for index in chosen)
    assert counts[2] == 3
    assert sorted(counts.values()) == [3, 6, 7, 7]
    assert {dataset.labels[index][0] for index in choose_images(dataset, 20, classes=2)} == {0, 1}
    assert choose_images(dataset, 23, seed=1) != chosen
    assert len(choose_images(dataset, 1000)) == 123


def test_images_with_several_labels_are_chosen_from_all():
    dataset = Labels(*[[]] * 10, *[[0, 2]] * 10, *[[1]] * 10)
    assert len(choose_images(dataset, 12)) == 12
    with pytest.raises(UserError, match='3 images'):
        choose_images(dataset, 3)


def test_features_are_what_the_last_layer_gets(digits):
    model, dataset = digits
    seen = []
    model.head.fc.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    features, labels = pooled_features(model, dataset, [4, 7, 9, 1, 0], batch_size=2)
    assert features.shape == (5, 14)
    assert labels == [(dataset[index]['data_samples'].gt_label.item(),) for index in [4, 7, 9, 1, 0]]
    with torch.no_grad():
        batch = torch.stack([dataset[index]['inputs'] for index in [4, 7, 9, 1, 0]])
        model(model.data_preprocessor(dict(inputs=batch))['inputs'])
    np.testing.assert_allclose(features, seen[0], rtol=1e-5, atol=1e-6)
    model.neck = None  # then the head gets maps
    maps, _ = pooled_features(model, dataset, [4, 7])
    np.testing.assert_allclose(maps, features[:2], rtol=1e-5, atol=1e-6)


def test_soft_labels_are_those_above_a_half(digits):
    model, dataset = digits
    sample = DataSample().set_gt_score(torch.tensor([0.7, 0.5, -1.0, 1.0]))
    assert pooled_features(model, [dict(inputs=dataset[0]['inputs'], data_samples=sample)])[1] == [(0, 3)]


def test_images_of_several_sizes_are_refused(digits, tmp_path):
    from mmpretrain.registry import DATASETS

    model, _ = digits
    write_images(tmp_path, classes=1, per_class=2, size=16)
    write_images(tmp_path, classes=1, per_class=1, size=20)
    pipeline = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')]
    dataset = DATASETS.build(dict(type='mmpretrain.CustomDataset', data_prefix=str(tmp_path), pipeline=pipeline))
    with pytest.raises(UserError, match='several sizes'):
        pooled_features(model, dataset)


def test_features_that_are_not_finite_are_refused(digits):
    model, dataset = digits
    model = copy.deepcopy(model)
    model.backbone.stages[0].block[0].norm1.running_var.fill_(-1)
    with pytest.raises(UserError, match='the features of 3 of 3 images are not all numbers'):
        pooled_features(model, dataset, [0, 1, 2])


def test_tsne_keeps_clusters_together():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 80)) * 5  # PCA comes first
    labels = np.repeat([0, 1, 2], 20)
    points = tsne(centres[labels] + rng.normal(size=(60, 80)) * 0.3, perplexity=10)
    assert points.shape == (60, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).all()
    assert np.isfinite(tsne(rng.normal(size=(5, 3)))).all()  # fewer images than neighbours asked for
    with pytest.raises(UserError, match='t-SNE needs 4'):
        tsne(np.zeros((3, 4)))


def test_each_class_has_its_own_look():
    count = 30
    points = np.random.default_rng(0).normal(size=(2 * count, 2))
    labels = [(i,) for i in range(count)] * 2
    figure = embedding_figure(points, labels, [f'name {i}' for i in range(count)])
    groups = figure.axes[0].collections
    assert len(groups) == count
    looks = {(tuple(g.get_facecolor()[0]), g.get_paths()[0].vertices.tobytes()) for g in groups}
    assert len(looks) == count
    assert [text.get_text() for text in figure.legends[0].texts] == [f'name {i}' for i in range(count)]
    np.testing.assert_allclose(groups[3].get_offsets(), points[[3, 33]])


def test_combinations_of_labels():
    labels = [()] * 5 + [(0, 1)] * 4 + [(1,)] * 3 + [(i, j) for i in range(5) for j in range(5, 10)]
    figure = embedding_figure(np.zeros((len(labels), 2)), labels)
    names = [text.get_text() for text in figure.legends[0].texts]
    assert names[:3] == ['no label', '1', '0 + 1']
    assert (len(names), names[-1]) == (11, 'others')
