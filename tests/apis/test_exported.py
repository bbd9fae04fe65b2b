"""A file as it describes itself, and one that is not what its description says."""

import pytest
from exported_means import IMAGE, means, written

from mmdensenet.apis import open_inferencer
from mmdensenet.errors import UserError

pytest.importorskip('onnxruntime', reason='the extra export is not installed')


def test_a_file_as_it_describes_itself(tmp_path):
    (result,) = open_inferencer(written(tmp_path))(IMAGE)
    assert result['pred_class'] == 'red' and result['pred_scores'].tolist() == [4.0, 2.0, 1.0]


@pytest.mark.parametrize(
    'step', [dict(type='CenterCrop', crop_size=[8, 8]), dict(type='Resize', scale=[8, 9], keep_ratio=True)]
)
def test_steps_that_take_two_sizes(tmp_path, step):
    pipeline = [step, dict(type='Resize', scale=[8, 8]), dict(type='PackInputs')]
    (result,) = open_inferencer(written(tmp_path, pipeline=pipeline))(IMAGE)
    assert result['pred_scores'].tolist() == [4.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(num_classes=4, classes=list('abcd')), 'not one for each of the 4 classes'),
        (dict(batch=2), 'cannot be run, export it again: .*dimensions'),
        (dict(graph=means('x')), 'cannot be run, export it again: .*x'),
        (dict(pipeline=[dict(type='ResizeEdge', scale=-4), dict(type='PackInputs')]), 'a pipeline that cannot run'),
        (dict(pipeline=[dict(type='Resize', scale='abc'), dict(type='PackInputs')]), 'a pipeline that cannot run'),
        (dict(pipeline=[dict(type='Resize', scale=8, interpolation='x')]), 'a pipeline that cannot run'),
        (dict(pipeline=[]), 'a pipeline that cannot run'),
        (dict(multi_label=True, topk=4), 'a wrong topk'),
    ],
)
def test_another_graph_or_pipeline(tmp_path, changed, message):
    file = written(tmp_path, **changed)
    with pytest.raises(UserError, match=f'^{file}:? .*{message}'):
        open_inferencer(file)(IMAGE)
