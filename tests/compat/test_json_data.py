"""JSON files, as configs and annotations are: a key that stands twice is refused, and a byte-order mark is not read."""

import json

import pytest
from mmengine import load
from mmengine.config import Config

from mmdensenet.apis.config import load_config
from mmdensenet.errors import UserError


@pytest.mark.parametrize('text', ['{"lr": 1, "lr": 2}', '{"a": [{"lr": 1, "b": 3, "lr": 1}]}'])
def test_a_key_that_stands_twice(tmp_path, text):
    file = tmp_path / 'c.json'
    file.write_text(text)
    with pytest.raises(UserError, match=r"c.json cannot be read: .*the key 'lr' stands twice in one object"):
        load_config(str(file))
    with pytest.raises(ValueError, match='stands twice'):
        Config.fromfile(str(file))


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_other_files_are_as_before(tmp_path, encoding):
    content = dict(lr=1e-5, names=['bée', None, True], inside=dict(lr=2), empty={})
    (tmp_path / 'c.json').write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert load(tmp_path / 'c.json') == content
    assert Config.fromfile(tmp_path / 'c.json').to_dict() == content


@pytest.mark.parametrize(('name', 'text'), [('c.json', '[1, 2]'), ('c.yaml', ''), ('c.yaml', 'text')])
def test_a_file_that_is_no_mapping(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f'{name} is no config: it must be a mapping of keys'):
        load_config(str(tmp_path / name))
