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
