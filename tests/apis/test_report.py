"""The report, on a checkpoint with decisions; tests/tools/test_report.py reads whole pages."""

import html
import re

from mmdensenet.apis.fit.judge import judge
from mmdensenet.apis.report import make_report
from mmdensenet.apis.scoring import score_part
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
    make_report(*plain, tmp_path / 'plain.html', **options)
    assert 'The scores are uncalibrated' in (tmp_path / 'plain.html').read_text()
