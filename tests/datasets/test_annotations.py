"""A malformed annotation file is named with its line."""

import json

import pytest
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mmdensenet.errors import UserError

GOOD = dict(metainfo=dict(classes=['a', 'b']), data_list=[dict(img_path='a.png', gt_label=0)])


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('l.txt', 'a.png 0\nb.png\n', r"l\.txt, line 2: 'b\.png' is not a path, a space and the number of a class"),
        ('l.txt', 'a.png 0\n\nb.png 1\n', r'l\.txt, line 2'),
        ('l.txt', 'a.png 0\nb.png cat\n', r"l\.txt, line 2: 'b\.png cat'"),
        ('l.txt', 'a.png 1.0\n', r'l\.txt, line 1'),
        ('l.json', '{"metainfo": {},\n "data_list": [}', r'l\.json, line 2: Expecting value'),
        ('l.json', '[]', r"l\.json, it has no 'metainfo'"),
        ('l.json', '{"metainfo": {}}', r"l\.json, it has no 'data_list'"),
        ('l.json', json.dumps(dict(metainfo={}, data_list=[dict(img_path='a'), {}])), r'data_list\[1\]: .*no img_path'),
        ('gone.txt', None, r'gone\.txt does not exist'),
    ],
)  # fmt: skip
def test_the_line_is_named(tmp_path, name, content, message):
    init_default_scope('mmpretrain')
    if content is not None:
        (tmp_path / name).write_text(content)
    kind = 'BaseDataset' if name.endswith('.json') else 'CustomDataset'
    with pytest.raises(UserError, match=message):
        DATASETS.build(dict(type=f'mmpretrain.{kind}', ann_file=name, data_root=str(tmp_path)))


def test_one_that_is_right(tmp_path):
    (tmp_path / 'l.json').write_text(json.dumps(GOOD))
    (tmp_path / 'l.txt').write_text('a b.png 1\n')
    one = DATASETS.build(dict(type='mmpretrain.BaseDataset', ann_file='l.json', data_root=str(tmp_path)))
    two = DATASETS.build(dict(type='mmpretrain.CustomDataset', ann_file='l.txt', data_root=str(tmp_path)))
    assert one.get_data_info(0)['gt_label'] == 0 and two.get_data_info(0)['gt_label'] == 1
