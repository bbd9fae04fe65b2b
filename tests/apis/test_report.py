"""The report, on a checkpoint with decisions; tests/tools/test_report.py reads whole pages."""

import html
import re

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from mmdensenet.apis.fit.decide import decide
from mmdensenet.apis.fit.judge import judge
from mmdensenet.apis.report import make_report
from mmdensenet.apis.scoring import score_part
from mmdensenet.checkpoints.checkpoint_meta import DECISIONS, write_meta
from mmdensenet.results.judgement import in_words


def test_the_report(plain, decided, tmp_path):
    config, checkpoint, decisions = decided
    scores = score_part(config, checkpoint)
    options = dict(predictions=scores, measure=False, gallery=0, bootstrap=50)
    make_report(config, checkpoint, tmp_path / 'r.html', **options)
    page = (tmp_path / 'r.html').read_text()
    found = judge(scores, decisions, resamplings=50)
    for line in [*decisions.lines(), *found.caveats]:
        assert html.escape(line, quote=True).replace('&#x27;', '&#39;') in page, line
    cells = ' '.join(re.sub('<[^>]*>', ' ', page).split())
    for name in ('accuracy', 'coverage', 'Brier', 'log loss', 'out of distribution'):
        value, _, interval = in_words(name, found.overall[name]).partition(' (')
        assert f'{value} {interval.rstrip(")")}' in cells.replace('(', '').replace(')', ''), name
    for label in found.labels:
        assert in_words('sensitivity', label.figures['sensitivity']).removeprefix('sensitivity ') in cells
    assert page.count('decision curve') == 6
    tables = re.findall(r'<table([^>]*)>(.*?)</table>', page, re.DOTALL)
    wide = [each for each in tables if each[1].count('<th>') > 5]
    for attributes, table in wide:
        # a phone shows each row as a card, with the names in its cells
        names = [html.unescape(name) for name in re.findall('<th>(.*?)</th>', table)]
        row = re.findall('<td([^>]*)>', table.split('<tr>')[2])
        assert 'cards' in attributes and [f' data-name="{name}"' for name in names[1:]] == row[1:], names
    assert len(wide) >= 2
    make_report(*plain, tmp_path / 'plain.html', **options)
    assert 'The scores are uncalibrated' in (tmp_path / 'plain.html').read_text()
    assert '`' not in (tmp_path / 'plain.html').read_text().partition('id="decisions"')[2].partition('<h2')[0]


def test_all_is_of_the_decided_labels(plain, decided, tmp_path):
    """The confusion matrix, its table and the pictures, counted again from the logits and the stored thresholds."""
    validation, scores = (score_part(*plain, part) for part in ('val', 'test'))
    decisions = decide(validation, operating_point='sensitivity=0.98', weights=decided[2].weights)
    write_meta(decided[1], DECISIONS, decisions.to_dict(), tmp_path / 'w.pth')
    options = dict(predictions=scores, measure=False, gallery=400, bootstrap=20)
    make_report(plain[0], str(tmp_path / 'w.pth'), tmp_path / 'r.html', **options)
    page = html.unescape((tmp_path / 'r.html').read_text())
    probabilities = softmax(scores.logits / decisions.temperatures[0], axis=1)
    labels = (probabilities / [point.threshold for point in decisions.points]).argmax(1)
    assert 0 < (labels != scores.predicted).sum() < 100
    cells = re.findall(r'true (\d), predicted (\d): (\d+) images', page)
    counts = [[int(n) for t, p, n in cells if int(t) == k] for k in range(10)]
    assert np.array_equal(counts, confusion_matrix(scores.truth, labels, labels=range(10)))
    text = ' '.join(re.sub('<[^>]*>', ' ', page).split())
    assert f'accuracy {100 * (labels == scores.truth).mean():.2f}' in text and 'top-1' not in text
    for k in range(10):
        assert f' {k} {100 * (labels[scores.truth == k] == k).mean():.1f} % ' in text
    wrong = np.flatnonzero(labels != scores.truth)
    captions = re.findall(r'<b>true</b> (\d), score ([.\d]+)<br><b class="wrong">model</b> (\d), score ([.\d]+)', page)
    wanted = [
        (scores.truth[i], probabilities[i, scores.truth[i]], labels[i], probabilities[i, labels[i]]) for i in wrong
    ]
    key = sorted((int(t), f'{a:.3f}', int(p), f'{b:.3f}') for t, a, p, b in wanted)
    assert sorted((int(t), a, int(p), b) for t, a, p, b in captions) == key
