"""A cross-validation: out-of-fold figures of its models, and the ensemble that is handed over."""

import csv
import html
from dataclasses import replace

import numpy as np
import pytest
import torch
from fit_work_dir import FOLDER, PATIENT, make_work_dir, scores_of
from helpers import read_csv
from made_scores import make, several, single, with_logits
from scipy.special import expit, logit, softmax
from sklearn import metrics as sklearn

from mmdensenet import get_model, inference
from mmdensenet.apis import Inferencer
from mmdensenet.apis.fit.decide import decide
from mmdensenet.apis.fit.folds import (
    NO_PAIRS,
    PART,
    calibrated,
    decide_members,
    ensemble_energies,
    judge_folds,
    out_of_fold,
)
from mmdensenet.apis.fit.hand_over import Folds, hand_over
from mmdensenet.apis.runner import open_config
from mmdensenet.errors import UserError
from mmdensenet.export.ensemble import Ensemble, mean_logits
from mmdensenet.results.decisions import energy
from mmdensenet.results.scores import join_scores


def folds_of(scores, factors=(1, 2, 4)):
    """Parts, of models that are as sure as they like."""
    scores = with_logits(scores)
    parts = [scores.take(np.arange(len(scores)) % len(factors) == i) for i in range(len(factors))]
    return [calibrated(part, [1 / factor]) for part, factor in zip(parts, factors)]


def test_figures_are_those_of_decisions_of_the_other_folds():
    parts = folds_of(single(600, 2, factor=2, groups=np.arange(600) // 2))
    found = judge_folds(out_of_fold(parts, operating_point='f1'), resamplings=20)
    labels, truth, covered = [], [], []
    for i, part in enumerate(parts):
        others = join_scores([p for j, p in enumerate(parts) if j != i])
        once = decide(others, operating_point='f1')
        labels.append(once.apply(part.logits).labels)
        truth.append(part.truth)
        [temperature] = once.temperatures
        sets = decide(calibrated(others, [temperature])).apply(part.logits / temperature).sets
        covered.append(sets[np.arange(len(part)), part.truth])
    labels, truth = np.concatenate(labels), np.concatenate(truth)
    assert found.overall['accuracy'].value == pytest.approx((labels == truth).mean())
    assert found.labels[0].figures['PPV'].value == pytest.approx(sklearn.precision_score(truth, labels))
    assert found.overall['coverage'].value == pytest.approx(np.concatenate(covered).mean())
    assert found.images == 600 and 'Out-of-fold figures of 3 models' in found.caveats[0]
    assert 'The ensemble, the mean of their probabilities, has no figures of its own' in found.caveats[1]
    with pytest.raises(UserError, match='two folds or more, not 1'):
        out_of_fold(parts[:1])


def test_the_order_of_the_rows_changes_no_figure():
    parts = folds_of(single(300, 3, factor=2))
    found = out_of_fold(parts)
    rows = np.random.default_rng(0).permutation(300)
    other = found.numbered(rows)
    assert other.scores.index.tolist() == list(range(300)) and other.models == 3
    back = np.argsort(rows)
    assert np.array_equal(other.model, found.model[back]) and np.array_equal(other.decided.ood, found.decided.ood[back])
    assert np.array_equal(other.scores.truth, found.scores.truth[back])
    for name in ('accuracy', 'macro AUROC', 'coverage', 'Brier'):
        assert judge_folds(other).overall[name].value == pytest.approx(judge_folds(found).overall[name].value)


@pytest.mark.parametrize('labels', [False, True])
def test_decisions_of_the_ensemble_are_on_calibrated_logits(labels):
    parts = folds_of(several(900, factor=2, unknown=0.1) if labels else single(900, 4, factor=2))
    temperatures, decisions = decide_members(parts, operating_point='f1' if labels else None)
    together = join_scores(parts)
    alone = decide(together, operating_point='f1' if labels else None)
    assert temperatures == alone.temperatures and set(decisions.temperatures) == {1.0}
    assert decisions.points == alone.points and decisions.part == PART
    scaled = together.logits / temperatures
    decided = decisions.apply(scaled)
    assert np.array_equal(decided.positive, alone.apply(together.logits).positive)
    assert decided.probabilities == pytest.approx(alone.apply(together.logits).probabilities)
    assert decided.sets[together.targets == 1].mean() == pytest.approx(0.9, abs=0.01)
    assert decided.ood.mean() == pytest.approx(0.05, abs=0.002)


def other_models(labels: bool, seed: int):
    """Five models whose energies differ; the function of draws of inputs, and that of a model's scores on a draw."""
    rng = np.random.default_rng(seed)
    weight, shift, scale = rng.normal(size=(6, 4)), rng.normal(0, 1.5, 5), 1 + 0.3 * rng.random(5)
    own = rng.normal(0, 0.8, (5, 6, 4))

    def draw(count):
        inputs = rng.normal(size=(count, 6))
        chances = expit(inputs @ weight) if labels else softmax(inputs @ weight, 1).cumsum(1)
        drawn = rng.random(chances.shape if labels else (count, 1))
        return inputs, (drawn < chances).astype(float) if labels else (drawn > chances).sum(1).clip(max=3)

    def score(k, inputs, truth):
        logits = scale[k] * (inputs @ (weight + own[k])) + shift[k]
        scores = make(expit(logits) if labels else softmax(logits, 1), truth)
        return replace(scores, logits=logits)

    return draw, score


@pytest.mark.parametrize('labels', [False, True])
def test_images_are_marked_by_the_threshold_of_what_scored_them(labels):
    """Models whose energies differ mark 5% of the images, out of fold and together; by a common threshold 9 to 11%."""
    draw, score = other_models(labels, 7)
    folds = [draw(200) for _ in range(5)]
    parts, validation = ([score(k, *folds[(k + more) % 5]) for k in range(5)] for more in (0, 1))
    found = out_of_fold(parts, validation=validation)
    assert 0.03 < found.decided.ood.mean() < 0.07
    for k, (part, unseen) in enumerate(zip(parts, validation)):
        temperatures, _ = decide_members(parts[:k] + parts[k + 1 :])
        own, energies = (energy(calibrated(each, temperatures).logits, labels) for each in (unseen, part))
        limit = np.sort(own)[189:191].mean()  # 10 of 200 are above
        assert np.array_equal(found.decided.ood[found.model == k], energies > limit)
    temperatures, decisions = decide_members(parts, validation=validation)
    new = draw(4000)
    logits = np.stack([score(k, *new).logits / temperatures for k in range(5)])
    marked = decisions.apply(mean_logits(torch.from_numpy(logits), labels).numpy()).ood.mean()
    assert 0.015 < marked < 0.07
    caveats = judge_folds(found, resamplings=10).caveats
    assert any("model's own threshold, of the images that chose its epoch" in line for line in caveats)
    unpaired = decide_members(parts, validation=[each.take(np.arange(150)) for each in validation])[1]
    assert unpaired.ood_threshold is None and NO_PAIRS in unpaired.left_out


@pytest.mark.parametrize('labels', [False, True])
def test_of_two_models_nothing_is_estimated(labels):
    """Neither was trained on an image: their ensemble has the energies that it has."""
    draw, score = other_models(labels, 3)
    folds = [draw(40), draw(50)]
    parts, validation = ([score(k, *folds[abs(k - more)]) for k in range(2)] for more in (0, 1))
    pairs = [torch.from_numpy(np.stack([score(k, *fold).logits for k in range(2)])) for fold in folds]
    expected = [energy(mean_logits(pair, labels).numpy(), labels) for pair in pairs]
    assert ensemble_energies(parts, validation) == pytest.approx(np.concatenate(expected))


@pytest.fixture(scope='module')
def handed(tmp_path_factory):
    """A work directory with three models, each with the fold that it has held out."""
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed (the extra export)')
    tmp_path = tmp_path_factory.mktemp('folds')
    work, config, first = make_work_dir(tmp_path, several=True)
    root = tmp_path / FOLDER / 'pictures'
    rows = read_csv(work / 'samples.csv')
    fold = np.array([i // 2 % 3 for i in range(len(rows))])
    for row, k in zip(rows, fold):
        row |= {f'fold{i}': 'test' if i == k else 'val' if (i - k) % 3 == 2 else 'train' for i in range(3)}
        del row['split']
    with (work / 'samples.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    config.write_text(config.read_text().replace("split_column='split'", "split_column='fold0'"))
    classes = ['Edema', 'Pleural Effusion']
    lists = [[row['image'], row['file'], int(row[classes[0]]), int(row[classes[1]]), row['group'], ''] for row in rows]
    parts, models, files, options = [], [], [], []
    for k in range(3):
        torch.manual_seed(k)
        own = {'data_preprocessor.mean': [100.0 + 9 * k] * 3, 'data_preprocessor.std': [60.0 - k, 60.0, 61.0 + k]}
        options.append(own)
        model = get_model(open_config(str(config), own))
        torch.nn.init.normal_(model.head.fc.weight, std=2.0)
        files.append(str(work / f'best{k}.pth'))
        torch.save(dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict=model.state_dict()), files[-1])
        models.append(model)
        parts.append(scores_of(model, root, lists, classes, True).take(fold == k))
    first.unlink()
    temperatures, decisions = decide_members(parts)
    found = out_of_fold(parts).numbered(np.concatenate([part.index for part in parts]))
    folds = Folds(Ensemble(tuple(files), temperatures, decisions, tuple(options)), found)
    done = hand_over(
        work, config, files[0], folds=folds, predict=root, image_column='id', title='animals of the zoo',
        bootstrap=100, gallery=3, device='cpu',
    )  # fmt: skip
    everything = [scores_of(model, root, lists, classes, True).logits for model in models]
    return work, done, folds, everything, rows, classes


def test_the_handed_over_file_is_the_ensemble(handed):
    work, done, folds, _, rows, classes = handed
    paths = [str(work.parent / FOLDER / 'pictures' / row['file']) for row in rows]
    members = []
    for file, own in zip(folds.ensemble.checkpoints, folds.ensemble.options):
        model = get_model(open_config(str(work / 'animals.py'), own), file)
        members.append(Inferencer(model)(paths))
    logits = logit([[result['pred_scores'].astype(float) for result in results] for results in members])
    mean = expit(logits / folds.ensemble.temperatures).mean(0)
    results = inference(done.files['onnx'], paths, device='cpu')
    assert np.abs([result['pred_scores'] for result in results] - mean).max() < 1e-4
    wanted = [
        [i for i, point in enumerate(folds.ensemble.decisions.points) if row[i] >= point.threshold] for row in mean
    ]
    assert [result['pred_label'] for result in results] == wanted
    single = expit(logits[0] / folds.ensemble.temperatures)
    assert np.abs(single - mean).max() > 0.05, 'the first model is another'
    assert done.onnx_difference < 1e-4
    submission = {row['id']: row for row in read_csv(done.files['submission'])}
    found = np.array([[float(submission[row['file']][name]) for name in classes] for row in rows])
    assert np.abs(found - mean).max() < 1e-4, 'images without labels are predicted by it, too'


def test_predictions_are_out_of_fold(handed):
    _, done, folds, logits, rows, classes = handed
    written = read_csv(done.files['predictions'])
    assert list(written[0]) == ['id', *classes] and [row['id'] for row in written] == [row['image'] for row in rows]
    for i, (row, k) in enumerate(zip(written, folds.found.model)):
        others = folds.found.scores.take(folds.found.model != k)
        temperatures = [1.0 if t is None else t for t in decide(others).temperatures]
        assert [float(row[name]) for name in classes] == pytest.approx(expit(logits[k][i] / temperatures), abs=2e-6)


def test_report_and_card_speak_of_all_models(handed):
    _, done, folds, *_ = handed
    page = html.unescape(done.files['report'].read_text())
    for words in (
        '<h1>animals of the zoo</h1>',
        'Report on 3 models of a cross-validation, 48 images, each by the one that has not seen it',
        'Out-of-fold figures of 3 models',
        *folds.ensemble.decisions.lines(),
    ):
        assert words in page, words
    assert 'best0.pth' not in page and PATIENT not in page
    card = done.files['model_card'].read_text()
    for words in (
        '# animals of the zoo',
        'Results on the held-out folds',
        '3 folds of 16 to 16 images',
        '48 images',
        'The mean of the prob',
    ):
        assert words in card, words
    readme = done.files['readme'].read_text()
    assert 'the ensemble: the mean of the probabilities of 3 models' in readme
    assert 'each by the model that has not seen it' in readme


def test_a_fold_without_decisions_leaves_its_labels_out():
    parts = folds_of(several(300, unknown=0))
    parts[0].truth[:, 1] = np.arange(100) < 5  # all that there is of it, so that the others know nothing
    for part in parts[1:]:
        part.truth[:, 1] = 0
    found = out_of_fold(parts)
    assert found.undecided == ('class 1',) and 'class 1' in found.without_sets
    assert any('fold 0: class 1: no operating point' in sentence for sentence in found.left_out)
    figures = judge_folds(replace(found), resamplings=20).labels[1].figures
    assert np.isnan(figures['sensitivity'].value) and figures['AUROC'].value > 0
