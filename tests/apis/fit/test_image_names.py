"""Tables call images as the user's table does."""

import csv
import os

import numpy as np
import own_images
import pytest

from mmdensenet.apis.fit.image_names import (
    Unlabelled,
    called_images,
    in_style,
    named_images,
    names_of_images,
    require_tabular,
)
from mmdensenet.errors import UserError


def test_images_that_samples_does_not_have(tmp_path):
    with (tmp_path / 'samples.csv').open('w', newline='') as file:
        csv.writer(file).writerows([['image', 'file'], ['study\\3', 'a_3.png']])
    find = names_of_images(tmp_path / 'samples.csv')
    assert find('/elsewhere/a_3.png') == 'study\\3'
    with pytest.raises(UserError, match=r'other\.png is not in .*samples\.csv'):
        find('/x/other.png')
    assert names_of_images(tmp_path / 'none.csv')('/x/y/other.png') == 'other.png'


def test_a_folder_that_contains_its_own_name(tmp_path):
    """images/1.png and images/images/1.png are two images."""
    with (tmp_path / 'samples.csv').open('w', newline='') as file:
        csv.writer(file).writerows([['image', 'file'], ['outer', '1.png'], ['inner', 'images/1.png'], ['2', '2.png']])
    find = names_of_images(tmp_path / 'samples.csv', '/data/images')
    assert find('/data/images/1.png') == 'outer'
    assert find('/data/images/images/1.png') == 'inner'
    assert find('/moved/2.png') == '2'
    with pytest.raises(UserError, match=r'may be images/1\.png or 1\.png of'):
        find('/moved/images/1.png')


@pytest.mark.parametrize(
    ('like', 'names', 'shown'),
    [
        (['0001', '0002'], ['test/7.tif', 'test/8.tif'], ['7', '8']),
        (['0001.tif'], ['test/7.tif', 'test/8.tif'], ['7.tif', '8.tif']),
        (['train/1.tif', '2.tif'], ['a/7.tif', 'b/8.tif'], ['a/7.tif', 'b/8.tif']),
        (['C:\\x\\1.tif'], ['a/7.tif'], ['a/7.tif']),
        (['v1.2'], ['a/v1.3.nii.gz', 'b/v1.4.png'], ['v1.3', 'v1.4']),
        (['0001'], ['a/7.tif', 'b/7.tif'], ['a/7.tif', 'b/7.tif']),  # they would be the same
        ([], ['a/7.tif'], ['a/7.tif']),
    ],
)
def test_files_are_called_in_the_style_of_the_table(like, names, shown):
    assert in_style(names, like) == shown


def test_a_folder_and_a_table_of_images_without_labels(tmp_path):
    for name in ('7.png', 'deep/8.png'):
        own_images.write(tmp_path / 'new' / name, np.zeros((2, 2), np.uint8))
    assert named_images(tmp_path / 'new', None).pairs == called_images(tmp_path / 'new')
    found = named_images(tmp_path / 'new', None, 'id', ['1', '2'])
    assert found == Unlabelled('id', [('7', str(tmp_path / 'new/7.png')), ('8', str(tmp_path / 'new/deep/8.png'))])
    table = tmp_path / 'sample_submission.csv'
    table.write_text('image_id,label\n8,0.5\n7,0.5\n')
    found = named_images(table, tmp_path / 'new', 'id', ['1', '2'])
    assert found == Unlabelled(
        'image_id', [('8', str(tmp_path / 'new/deep/8.png')), ('7', str(tmp_path / 'new/7.png'))]
    )
    table.write_text('image_id,label\n8,0.5\n9,0.5\n')
    with pytest.raises(UserError, match=r'9 is not below'):
        named_images(table, tmp_path / 'new')
    table.write_text('image_id,label\n')
    with pytest.raises(UserError, match=r'sample_submission\.csv has no row'):
        named_images(table, tmp_path / 'new')
    with pytest.raises(UserError, match='predict=none does not exist'):
        named_images('none', None)


def test_names_that_no_table_holds(tmp_path):
    require_tabular(['a b.png', ' a\n"1";.png', 'größe.png'], 'data')
    require_tabular(['a b.png', 'a/ b.png', 'größe.png'], 'data', is_read=True)
    not_utf8 = os.fsdecode(b'a/K\xe4se.png')  # as archives of Windows leave it
    for name, is_read, message in (
        (not_utf8, False, r"^'data/a/K\\udce4se\.png': this name is not UTF-8, so no table can hold it: rename it\.$"),
        ('a\r1.png', False, r"^'data/a\\r1\.png': this name has a carriage return"),
        (' a/1.png', True, r"^'data/ a/1\.png': this name begins or ends with a space"),
    ):
        with pytest.raises(UserError, match=message):
            require_tabular(['1.png', name], 'data', is_read=is_read)
    own_images.write(tmp_path / 'new/1.png', np.zeros((2, 2), np.uint8))
    try:
        os.rename(tmp_path / 'new/1.png', tmp_path / 'new' / not_utf8[2:])
    except OSError:
        pytest.skip('this file system has names in UTF-8 only')
    with pytest.raises(UserError, match='is not UTF-8'):
        named_images(tmp_path / 'new', None)
