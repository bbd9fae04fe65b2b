from fractions import Fraction

import numpy as np
import pytest
import torch
from ranking_in_two_processes import evaluate, samples
from sklearn.metrics import average_precision_score, roc_auc_score
from two_processes import in_two_processes

from mmdensenet.errors import UserError
from mmdensenet.results import RankingMetric
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.ranking import by_image, rank

NAMES = ('edema', 'mass', 'nodule')


@pytest.fixture
def data():
    """Scores with ties, and targets with unknown labels."""
    return samples()


def result(scores, targets, **settings):
    metric = RankingMetric(**settings)
    metric.dataset_meta = dict(classes=NAMES)
    metric.process(None, [dict(pred_score=s, gt_score=t) for s, t in zip(scores, targets)])
    return metric.evaluate(len(scores))


def test_values_are_those_of_scikit_learn(data):
    scores, targets = data
    found = result(scores, targets)
    for item, function in (('auroc', roc_auc_score), ('ap', average_precision_score)):
        expected = [
            function(targets[:, j][targets[:, j] >= 0], scores[:, j][targets[:, j] >= 0]) for j in range(len(NAMES))
        ]
        assert [found[f'{item}/{name}'] for name in NAMES] == pytest.approx(expected, abs=1e-12)
        assert found[f'{item}/macro'] == pytest.approx(np.mean(expected), abs=1e-12)
    assert len(found) == 8


def test_one_class_per_image():
    torch.manual_seed(0)
    scores, labels = torch.randn(50, 3).softmax(1), torch.randint(0, 3, (50,))
    metric = RankingMetric(items=['auroc'])
    metric.process(None, [dict(pred_score=s, gt_label=label[None]) for s, label in zip(scores, labels)])
    expected = roc_auc_score(labels, scores.double(), multi_class='ovr', average='macro')
    assert metric.evaluate(50)['auroc/macro'] == pytest.approx(expected, abs=1e-6)


def test_a_label_without_both_kinds_has_no_value(data):
    scores, targets = data
    targets[:, 1] = torch.where(targets[:, 1] > 0, -1.0, targets[:, 1])
    found = result(scores, targets, bootstrap=10)
    assert np.isnan(found['auroc/mass']) and np.isnan(found['ap/mass']) and np.isnan(found['ap/mass_low'])
    assert found['auroc/macro'] == pytest.approx((found['auroc/edema'] + found['auroc/nodule']) / 2)


@pytest.mark.parametrize(('which', 'expected'), [(0, roc_auc_score), (1, average_precision_score)])
def test_resampling_by_weights_is_resampling(data, which, expected):
    """A weight of 2 is an image that was drawn twice."""
    score, target = data[0][:, 0].numpy(), data[1][:, 0].numpy()
    weights = np.random.default_rng(0).multinomial(len(score), np.full(len(score), 1 / len(score)), size=5)
    for row, value in zip(weights, rank(score, target, by_image(weights))[which]):
        drawn = np.repeat(np.arange(len(score)), row)
        drawn = drawn[target[drawn] >= 0]
        assert value == pytest.approx(expected(target[drawn], score[drawn]), abs=1e-12)


def test_what_is_not_a_number_has_no_rank(data):
    """Else all images of a model that has diverged would be ranked as they come."""
    scores, targets = data
    scores[:, 1] = float('nan')
    found = result(scores, targets, bootstrap=10)
    assert np.isnan(found['auroc/mass']) and np.isnan(found['ap/mass_high'])
    assert found['auroc/macro'] == pytest.approx((found['auroc/edema'] + found['auroc/nodule']) / 2)
    scores[0, 0] = float('nan')
    targets[0, 0] = -1
    assert result(scores, targets)['auroc/edema'] == pytest.approx(
        roc_auc_score(targets[:, 0][targets[:, 0] >= 0], scores[:, 0][targets[:, 0] >= 0])
    )


def test_steps_are_those_of_all_scores():
    """The curve over every distinct score, in exact fractions: the steps without a positive change nothing."""
    rng = np.random.default_rng(0)
    for images in (1, 2, 5, 40):
        score, target = rng.integers(0, 9, images) / 8, rng.choice([-1, 0, 0.5, 1], images)
        weights = rng.multinomial(images, np.full(images, 1 / images), size=300).astype(np.float32)
        areas, precisions = rank(score, target, by_image(weights))
        for row, area, mean in zip(weights.astype(int).tolist(), areas, precisions):
            drawn = [(s, t) for s, t, n in zip(score, target, row) if t >= 0 for _ in range(n)]
            there, absent = ([s for s, t in drawn if (t > 0.5) == kind] for kind in (True, False))
            if not (there and absent):
                assert np.isnan(area) and np.isnan(mean)
                continue
            pairs = sum(Fraction((a > b) * 2 + (a == b), 2) for a in there for b in absent)
            assert area == float(pairs / (len(there) * len(absent)))
            steps = [
                Fraction(there.count(s) * sum(a >= s for a in there), sum(a >= s for a, _ in drawn)) for s in set(there)
            ]
            assert mean == pytest.approx(float(sum(steps) / len(there)), rel=1e-14)


def test_intervals(data):
    scores, targets = data
    first = result(scores, targets, bootstrap=400, seed=1)
    for name in ('macro', *NAMES):
        assert first[f'auroc/{name}_low'] < first[f'auroc/{name}'] < first[f'auroc/{name}_high']
    plain = result(scores, targets, bootstrap=40, confidence=0.5)
    weights = Resampling(len(scores), None, 40, 0).weights
    ranks = [rank(scores[:, j].numpy(), targets[:, j].numpy(), by_image(weights)) for j in range(3)]
    for item, drawn in zip(('auroc', 'ap'), np.mean(ranks, 0)):
        found = [plain[f'{item}/macro_{end}'] for end in ('low', 'high')]
        assert found == pytest.approx(np.percentile(drawn, [25, 75]), abs=1e-12)


def test_interval_has_the_width_of_theory():
    """Hanley and McNeil's standard error of an AUROC, for 400 images of two normal distributions."""
    rng = np.random.default_rng(0)
    target = np.repeat([0.0, 1.0], 200)
    score = rng.normal(size=400) + target
    metric = RankingMetric(items=['auroc'], bootstrap=2000)
    metric.process(
        None, [dict(pred_score=torch.tensor([s]), gt_score=torch.tensor([t])) for s, t in zip(score, target)]
    )
    found = metric.evaluate(400)
    area = found['auroc/macro']
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    error = np.sqrt((area * (1 - area) + 199 * (q1 - area**2) + 199 * (q2 - area**2)) / 200**2)
    assert found['auroc/macro_high'] - found['auroc/macro_low'] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_two_processes_give_the_result_of_one(data):
    """Of an odd number of images: the one that pads the second rank is dropped."""
    expected = result(*data, bootstrap=20)
    for ranks_result in in_two_processes(evaluate):
        assert ranks_result == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.parametrize('wrong', [dict(items=['f1']), dict(confidence=0), dict(confidence=1)])
def test_mistakes(wrong):
    with pytest.raises(UserError, match=r"items are of \['ap', 'auroc'\], confidence is between 0 and 1"):
        RankingMetric(**wrong)


def test_groups_are_resampled_whole():
    """Each patient's image ten times says no more than once: the interval is that of the patients."""
    rng = np.random.default_rng(0)
    targets = torch.tensor(rng.integers(0, 2, (60, 3)), dtype=torch.float64)
    scores = torch.tensor(rng.random((60, 3))) + 0.3 * targets

    def interval(copies, group=None):
        metric = RankingMetric(items=['auroc'], bootstrap=500, group=group)
        metric.dataset_meta = dict(classes=NAMES)
        rows = [dict(pred_score=scores[i], gt_score=targets[i], group=f'patient {i}') for i in range(60)]
        metric.process(None, rows * copies)
        found = metric.evaluate(60 * copies)
        return found['auroc/macro'], found['auroc/macro_high'] - found['auroc/macro_low']

    (value, once), (same, grouped), (_, images) = interval(1), interval(10, 'group'), interval(10)
    assert same == pytest.approx(value)
    assert grouped == pytest.approx(once, rel=0.1) and images < once / 2
    metric = RankingMetric(group='patient')
    with pytest.raises(UserError, match=r"no 'patient': set dataset\.group_column"):
        metric.process(None, [dict(pred_score=scores[0], gt_score=targets[0])])
