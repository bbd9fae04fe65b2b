"""What CustomDataset would leave out without a word is named."""

import logging

import pytest
from mmpretrain.datasets import CustomDataset
from PIL import Image

from mmdensenet.datasets.left_out import require_all_images
from mmdensenet.errors import UserError


@pytest.fixture
def folders(tmp_path):
    for name in ('bee', 'cat'):
        (tmp_path / 'data' / name).mkdir(parents=True)
        Image.new('L', (4, 4)).save(tmp_path / 'data' / name / '0.png')
    return tmp_path / 'data'


@pytest.mark.parametrize('with_label', [True, False])
@pytest.mark.parametrize('count', [1, 2])
def test_links_whose_target_is_gone(folders, with_label, count):
    for number in range(count):
        (folders / 'cat' / f'{number + 1}.PNG').symlink_to(folders / 'moved.png')
    more = ', and 1 more such links' if count == 2 else ''
    with pytest.raises(UserError, match=f'1.PNG is a link to .*moved.png, which is not there{more}: mend or remove it'):
        CustomDataset(data_root=str(folders), with_label=with_label, pipeline=[])


def test_links_that_lead_somewhere(folders):
    (folders / 'cat' / '1.png').symlink_to(folders / 'bee' / '0.png')
    (folders / 'cat' / 'above').symlink_to(folders / 'cat')
    require_all_images(str(folders), ('.png',))
    (folders / 'cat' / 'above').unlink()
    (folders / 'cat' / 'notes.txt').symlink_to(folders / 'gone.txt')
    (folders / 'cat' / '.1.png').symlink_to(folders / 'gone.png')
    assert len(CustomDataset(data_root=str(folders), pipeline=[])) == 3


def test_images_of_other_endings(folders, monkeypatch):
    said = []
    monkeypatch.setattr('mmdensenet.datasets.left_out.print_log', lambda *args: said.append(args))
    for name in ('1.webp', '2.WEBP', '3.heic', 'notes.txt', '.4.webp'):
        (folders / 'bee' / name).write_bytes(b'')
    assert len(CustomDataset(data_root=str(folders), pipeline=[])) == 2
    ((text, _, level),) = said
    assert '2 .webp, 1 .heic files are left out' in text and level == logging.WARNING
    require_all_images(str(folders), ('.png', '.webp', '.heic'))
    require_all_images('s3://bucket/images', ('.png',))
    assert len(said) == 1
