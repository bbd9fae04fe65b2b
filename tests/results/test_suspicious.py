"""Suspicious labels are cleanlab's, and planted ones are found."""

import csv

import numpy as np
import pytest

from mmdensenet.results.scores import Scores
from mmdensenet.results.suspicious import find_suspicious, in_words, write_suspicious

#: cleanlab 2.9.0, find_label_issues(filter_by='confident_learning', return_indices_ranked_by='self_confidence')
CLEANLAB = {0: [33, 42, 19, 7], 1: [26, 15, 38, 50, 53, 34, 44, 29, 3]}
CLEANLAB_MULTI_LABEL = [[8], [39, 68, 20, 4]]


def single(seed, images=60, classes=3):
    """Scores, the given classes, and which of them were changed."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), truth] += 3
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    changed = rng.random(images) < 0.1
    given = np.where(changed, (truth + 1) % classes, truth)
    return Scores(scores, given, np.arange(images), [f'{i}.png' for i in range(images)], list('abc')), changed


def several(seed, images=80, labels=2):
    rng = np.random.default_rng(seed)
    truth = (rng.random((images, labels)) < 0.3).astype(float)
    scores = 1 / (1 + np.exp(-rng.normal(size=(images, labels)) - 5 * (truth - 0.5)))
    changed = rng.random((images, labels)) < 0.06
    given = np.where(changed, 1 - truth, truth)
    return Scores(scores, given, np.arange(images), [''] * images, ['Edema', 'Mass']), changed


@pytest.mark.parametrize('seed', CLEANLAB)
def test_figures_of_cleanlab(seed):
    scores, _ = single(seed)
    assert [each.place for each in find_suspicious(scores)] == CLEANLAB[seed]


def test_figures_of_cleanlab_for_several_labels():
    found = find_suspicious(several(0)[0])
    assert [[each.place for each in found if each.label == k] for k in range(2)] == CLEANLAB_MULTI_LABEL
    assert [each.self_confidence for each in found] == sorted(each.self_confidence for each in found)


def test_by_hand():
    """The mean scores of the labels given are 0.3, 0.325 and 0.393; what reaches them is confident."""
    rows = [
        ('c', (0.34, 0.36, 0.30), 'b'),  # a and b are confident: the better one
        ('a', (0.30, 0.20, 0.50), 'c'),
        ('b', (0.10, 0.32, 0.58), 'c'),
        ('c', (0.20, 0.20, 0.60), None),
        ('c', (0.10, 0.325, 0.28), 'b'),  # just
        ('b', (0.90, 0.33, 0.10), 'a'),  # of which there is one
    ]
    given, table, suggested = zip(*rows)
    truth = np.array(['abc'.index(name) for name in given])
    found = find_suspicious(Scores(np.array(table), truth, np.arange(6), [''] * 6, list('abc')))
    assert {each.place: 'abc'[each.suggested] for each in found} == {k: v for k, v in enumerate(suggested) if v}
    assert [each.place for each in found] == [4, 0, 1, 2, 5] and found[0].self_confidence == 0.28


@pytest.mark.parametrize('seed', range(6))
def test_as_cleanlab(seed):
    filters = pytest.importorskip('cleanlab.filter', reason='cleanlab is not installed (requirements/peers.txt)')
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.rank import get_label_quality_scores

    options = dict(filter_by='confident_learning', return_indices_ranked_by='self_confidence', n_jobs=1)
    scores, _ = single(seed, 60 + 40 * seed)
    found = find_suspicious(scores)
    theirs = filters.find_label_issues(scores.truth, scores.scores, **options)
    assert [each.place for each in found] == theirs.tolist()
    quality = get_label_quality_scores(scores.truth, scores.scores, method='self_confidence')
    assert np.allclose([each.self_confidence for each in found], quality[theirs])
    scores, _ = several(seed)
    lists = [np.flatnonzero(row).tolist() for row in scores.truth]
    theirs = find_multilabel_issues_per_class(lists, scores.scores, **options)[0]
    found = find_suspicious(scores)
    assert [[each.place for each in found if each.label == k] for k in range(2)] == [list(each) for each in theirs]


def test_planted_errors_are_found_and_named(tmp_path):
    scores, changed = single(3, 400)
    found = find_suspicious(scores)
    places = {each.place for each in found}
    assert len(places & set(np.flatnonzero(changed))) >= 0.8 * changed.sum()
    assert {each.place for each in found[:10]} <= set(np.flatnonzero(changed))
    first = found[0]
    assert in_words(scores, first) == tuple('abc'[k] for k in (first.given, first.suggested))
    write_suspicious(tmp_path / 's.csv', scores, found, [f'row {i}' for i in range(400)])
    assert list(csv.DictReader((tmp_path / 's.csv').read_text().splitlines())) == [
        dict(
            image=f'row {each.place}',
            given='abc'[each.given],
            suggested='abc'[each.suggested],
            self_confidence=f'{scores.scores[each.place, each.given]:.6f}',
        )
        for each in found
    ]


def test_what_is_not_known_is_not_suspicious(tmp_path):
    scores, changed = several(1, 400)
    hidden = scores.truth.copy()
    hidden[changed] = np.where(np.arange(changed.sum()) % 2, -1, 0.4)
    known = find_suspicious(scores)
    some = Scores(scores.scores, hidden, scores.index, scores.paths, scores.classes)
    left = {(each.place, each.label) for each in find_suspicious(some)}
    assert left.isdisjoint(zip(*np.nonzero(changed))) and len(left) < len(known)
    write_suspicious(tmp_path / 's.csv', scores, known)
    head, *lines = (tmp_path / 's.csv').read_text().splitlines()
    assert head == 'image,label,given,suggested,self_confidence' and len(lines) == len(known)
    for line, each in zip(lines, known):
        score, name = scores.scores[each.place, each.label], scores.classes[each.label]
        own = score if each.given else 1 - score
        assert line == f',{name},{each.given},{1 - each.given},{own:.6f}'
        words = (f'{name}: present', f'{name}: absent')
        assert in_words(scores, each) == (words if each.given else words[::-1])


def test_a_class_that_nobody_is_given():
    """It has no threshold, so that nothing is suspected to be of it."""
    scores, _ = single(0)
    scores.truth[scores.truth == 2] = 0
    assert all(each.suggested != 2 for each in find_suspicious(scores))
    assert find_suspicious(scores.take(np.zeros(len(scores), bool))) == []
