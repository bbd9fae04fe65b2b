"""Paths on a page that is sent to others."""

import pytest
from mmengine.config import Config

from mmdensenet.analysis.report.paths import short_path, without_folders, without_paths


@pytest.mark.parametrize(
    ('path', 'parts', 'expected'),
    [
        ('/home/me/w.pth', 1, 'w.pth'),
        ('/home/me/cat/1.jpg', 2, 'cat/1.jpg'),
        ('/1.jpg', 2, '1.jpg'),
        ('~/data/x', 1, 'x'),
        ('data/x.pth', 1, 'data/x.pth'),
        ('https://example.org/w.pth', 1, 'https://example.org/w.pth'),
        ('file:///home/me/w.pth', 1, 'w.pth'),
        ('C:\\Users\\me\\w.pth', 1, 'w.pth'),
        ('D:/data/cat/1.jpg', 2, 'cat/1.jpg'),
        ('\\\\server\\share\\w.pth', 1, 'w.pth'),
        ('', 2, ''),
        ('/', 1, ''),
    ],
)
def test_short_path(path, parts, expected):
    assert short_path(path, parts) == expected


def test_a_sentence_without_folders():
    assert without_paths('cannot read /home/me/a.pth, nor https://x.org/a/b.pth or b/c.py') == (
        'cannot read a.pth, nor https://x.org/a/b.pth or b/c.py'
    )


def test_a_config_without_folders(tmp_path):
    file = tmp_path / 'x.py'
    file.write_text("data = [dict(root='/srv/me/images', size=(3, '/a/b'))]\nlr = 0.1\n")
    cfg = Config.fromfile(file)
    short = without_folders(cfg)
    assert short.data == [dict(root='images', size=(3, 'b'))] and short.lr == 0.1 and short.filename == 'x.py'
    assert cfg.data[0].root == '/srv/me/images'
