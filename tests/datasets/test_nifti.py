"""Slices of NIfTI volumes: the right one, the right way up, with the file's values."""

import itertools

import numpy as np
import pytest

nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed (the extra nifti)')

from mmdensenet.datasets import CSVDataset, LoadGreyImage  # noqa: E402
from mmdensenet.datasets.nifti import read_nifti_slice  # noqa: E402
from mmdensenet.errors import BadImageError, UserError  # noqa: E402

VALUES = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


def write(file, values, affine=None, slope=None):
    volume = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    if slope is not None:
        volume.header.set_slope_inter(*slope)
    nibabel.save(volume, file)
    return str(file)


def world(axes, signs):
    """Volumes of the coordinates towards right, front and head, and the affine, with axes stored in another way."""
    size = np.array([3, 4, 5])
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * signs
    # a little oblique, as scanners are
    turn = np.array([[1, 0.02, 0], [-0.02, 1, 0.01], [0, -0.01, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing='ij'), -1)
    straight = grid @ (np.eye(3)[:, list(axes)] * signs).T
    return [straight[..., i].astype(np.float32) for i in range(3)], affine


@pytest.mark.parametrize('axes', list(itertools.permutations(range(3))))
def test_planes_are_seen_as_radiologists_see_them(tmp_path, axes):
    """(along, columns towards lower, rows towards lower) coordinates, for every way in which a volume may be stored."""
    for signs in itertools.product((1, -1), repeat=3):
        coordinates, affine = world(axes, signs)
        files = [write(tmp_path / f'{i}.nii', values, affine) for i, values in enumerate(coordinates)]
        for plane, (along, columns, rows) in dict(axial=(2, 0, 1), coronal=(1, 0, 2), sagittal=(0, 1, 2)).items():
            first, second = (
                [read_nifti_slice(file, None, plane, index, 10**6)[0] for file in files] for index in (0, 1)
            )
            assert np.ptp(first[along]) == 0 and (second[along] - first[along] == 1).all(), plane
            assert (np.diff(first[columns], axis=1) == -1).all() and np.ptp(first[columns], axis=0).max() == 0, plane
            assert (np.diff(first[rows], axis=0) == -1).all() and np.ptp(first[rows], axis=1).max() == 0, plane


@pytest.mark.parametrize('name', ['v.nii', 'v.nii.gz'])
@pytest.mark.parametrize('local', [True, False])
def test_stored_axes(tmp_path, name, local):
    path = write(tmp_path / name, VALUES)
    content = None if local else (tmp_path / name).read_bytes()
    for axis, index in ((0, 2), (1, 0), (2, 'middle')):
        pixels, full = read_nifti_slice(path, content, axis, index, 10**6)
        assert np.array_equal(pixels, np.take(VALUES, 2 if index == 'middle' else index, axis))
        assert full == (-(2**15), 2**15 - 1)


def test_slope_and_intercept(tmp_path):
    path = write(tmp_path / 'v.nii', VALUES, slope=(-2, 100))
    expected = nibabel.load(path).get_fdata()[..., 1]
    pixels, full = read_nifti_slice(path, None, 2, 1, 10**6)
    assert np.allclose(pixels, expected) and np.ptp(expected) > 0
    slope, intercept = nibabel.load(path).dataobj.slope, nibabel.load(path).dataobj.inter
    assert full == tuple(sorted(end * slope + intercept for end in (-(2**15), 2**15 - 1)))
    image = LoadGreyImage('full', axis=2, index=1).transform(dict(img_path=path))['img']
    assert image.dtype == np.float32 and np.allclose(image, (expected - full[0]) / (full[1] - full[0]) * 255, atol=1e-3)


def test_what_has_no_range_needs_a_window(tmp_path):
    for kind in (np.float32, np.int32):
        path = write(tmp_path / 'v.nii', VALUES.astype(kind))
        with pytest.raises(UserError, match=r'v\.nii has .* no full range: give a window'):
            LoadGreyImage('full', axis=0, index=0).transform(dict(img_path=path))
        image = LoadGreyImage((0, 10), axis=0, index=0).transform(dict(img_path=path))
        assert np.allclose(image['img'], VALUES[0].clip(0, 10) * 25.5) and image['ori_shape'] == (4, 5)


def test_which_slice_is_said_never_guessed(tmp_path):
    path = write(tmp_path / 'v.nii', VALUES)
    with pytest.raises(UserError, match=r"v\.nii is a volume: say along which axis .* axis='axial'"):
        LoadGreyImage('full', index=1).transform(dict(img_path=path))
    with pytest.raises(UserError, match=r'v\.nii is a volume: say which slice.*slice_column.*index=20'):
        LoadGreyImage('full', axis=0).transform(dict(img_path=path))
    with pytest.raises(UserError, match='not by both'):
        LoadGreyImage('full', axis=0, index=0).transform(dict(img_path=path, slice=0))
    with pytest.raises(BadImageError, match=r'v\.nii .*it has slices 0 to 2 along 0, not 3'):
        LoadGreyImage('full', axis=0, index=3).transform(dict(img_path=path))
    for wrong in (dict(axis='top'), dict(axis=3), dict(index=-1), dict(index=1.0), dict(index=True)):
        with pytest.raises(UserError, match=f'LoadGreyImage {next(iter(wrong))}='):
            LoadGreyImage('full', **wrong)


def test_a_table_says_the_slice(tmp_path):
    write(tmp_path / 'v.nii.gz', VALUES)
    (tmp_path / 't.csv').write_text('image,slice,label\nv.nii.gz,2,a\nv.nii.gz,0.0,b\n')
    steps = [dict(type='mmdensenet.LoadGreyImage', window=(0, 255), axis=0)]
    options = dict(ann_file='t.csv', data_root=str(tmp_path), data_prefix='', label_column='label')
    dataset = CSVDataset(**options, slice_column='slice', pipeline=steps)
    assert [np.array_equal(dataset[i]['img'], VALUES[k]) for i, k in enumerate((2, 0))] == [True, True]
    for text in ('x', '', '-1', '1.5'):
        (tmp_path / 't.csv').write_text(f'image,slice,label\nv.nii.gz,{text},a\n')
        with pytest.raises(UserError, match=rf't\.csv, row 2: the slice {text!r} is no whole number'):
            CSVDataset(**options, slice_column='slice')


def test_files_that_are_no_volume(tmp_path, monkeypatch):
    four = write(tmp_path / '4.nii', np.zeros((3, 3, 3, 2), np.int16))
    assert read_nifti_slice(write(tmp_path / '1.nii', VALUES[..., None]), None, 0, 1, 99)[0].shape == (4, 5)
    with pytest.raises(BadImageError, match=r'4\.nii .*shape \(3, 3, 3, 2\)'):
        read_nifti_slice(four, None, 0, 0, 99)
    with pytest.raises(BadImageError, match=r'1\.nii .*more than max_pixels=19'):
        read_nifti_slice(str(tmp_path / '1.nii'), None, 0, 0, 19)
    colours = write(tmp_path / 'c.nii', np.zeros((3, 3, 3), [('R', 'u1'), ('G', 'u1'), ('B', 'u1')]))
    with pytest.raises(BadImageError, match=r'c\.nii .*not one volume'):
        read_nifti_slice(colours, None, 0, 0, 99)
    (tmp_path / 'cut.nii').write_bytes((tmp_path / '1.nii').read_bytes()[:360])
    (tmp_path / 'none.nii.gz').write_bytes(b'not a volume')
    for name in ('cut.nii', 'none.nii.gz'):
        with pytest.raises(BadImageError, match=rf'{name}.*as NIfTI'):
            read_nifti_slice(str(tmp_path / name), None, 0, 0, 99)
    holes = np.full((2, 2, 2), np.nan, np.float32)
    with pytest.raises(BadImageError, match=r'n\.nii .*not finite'):
        LoadGreyImage((0, 1), axis=0, index=0).transform(dict(img_path=write(tmp_path / 'n.nii', holes)))
    monkeypatch.setitem(__import__('sys').modules, 'nibabel', None)
    with pytest.raises(UserError, match='pip install nibabel'):
        read_nifti_slice(four, None, 0, 0, 99)
