"""Scores of a part are made once for the same config, checkpoint, samples and options."""

import numpy as np
import pytest
from made_scores import several, single, with_logits

from mmdensenet.apis.fit import kept_scores as module
from mmdensenet.apis.fit.work_folder import WorkFolder

GROUPED = with_logits(single(20, groups=np.arange(20) // 2))


@pytest.mark.parametrize('scores', [GROUPED, several(20)], ids=['one', 'several'])
def test_what_is_kept_is_what_was_scored(scores, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(module, 'score_part', lambda *given: calls.append(given) or scores)
    work = WorkFolder(tmp_path)
    config, checkpoint, samples = (tmp_path / name for name in ('c.py', 'w.pth', 'samples.csv'))
    for file in (config, checkpoint, samples):
        file.write_text('a')

    def kept(**options):
        return module.kept_scores(work, 'validation', config, checkpoint, 'val', options)

    kept()
    found = kept()
    assert calls == [(str(config), str(checkpoint), 'val', {})]
    for name in ('scores', 'truth', 'index', 'groups', 'logits'):
        assert np.array_equal(getattr(found, name), getattr(scores, name)), name
    assert (found.paths, found.classes, found.threshold) == (scores.paths, scores.classes, scores.threshold)
    for file in (config, checkpoint, samples):
        file.write_text('b')
        kept()
    kept(a=1)
    (tmp_path / 'validation.npz').unlink()
    kept(a=1)
    assert len(calls) == 6
    # a call with other options that was interrupted after it wrote the scores
    monkeypatch.setattr(WorkFolder, 'write', lambda *args: None)
    kept(a=2)
    monkeypatch.undo()
    monkeypatch.setattr(module, 'score_part', lambda *given: calls.append(given) or scores)
    kept(a=1)
    assert len(calls) == 8
    np.savez(tmp_path / 'validation.npz', scores=np.array([print], object))
    with pytest.raises(ValueError, match='allow_pickle=False'):  # which could run code
        kept(a=1)


def test_a_column_that_the_scores_do_not_depend_on(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(module, 'score_part', lambda *given: calls.append(given) or GROUPED)
    for file in ('c.py', 'w.pth'):
        (tmp_path / file).write_text('a')
    for table in ('image,sex,split\n1,f,test\n', 'image,sex,split\n1,m,test\n', 'image,sex,split\n1,m,val\n'):
        (tmp_path / 'samples.csv').write_text(table)
        module.kept_scores(WorkFolder(tmp_path), 'test', tmp_path / 'c.py', tmp_path / 'w.pth', 'test', {}, ['sex'])
    assert len(calls) == 2
