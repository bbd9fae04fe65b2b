"""Shards on the disk, and a call that goes on."""

import hashlib
import json
import tarfile

import pytest
from conftest import write_images
from prepared_folders import config, folder

from mmdensenet.apis import prepare
from mmdensenet.apis.prepare import prepare_dataset
from mmdensenet.datasets import ShardDataset
from mmdensenet.errors import UserError


def test_shards_are_as_webdataset_reads_them(tmp_path):
    write_images(tmp_path / 'train')
    [part] = prepare_dataset(config(folder(tmp_path)), tmp_path / 't', shard_size=5, workers=0)
    assert (part.shards, part.kept, len(part.samples)) == (3, 0, 12)
    found = []
    for number, count in enumerate((5, 5, 2)):
        with tarfile.open(tmp_path / f't/train-{number:06d}.tar') as tar:
            names = tar.getnames()
            assert len(names) == 2 * count
            for image, label in zip(names[::2], names[1::2]):
                key = image.removesuffix('.jpg')
                assert label == f'{key}.cls' and '.' not in key
                found.append((key, tar.extractfile(image).read(), int(tar.extractfile(label).read())))
    keys, images, labels = zip(*found)
    assert sorted(keys) == list(keys) and len(set(keys)) == 12
    assert list(labels) == [0] * 4 + [1] * 4 + [2] * 4
    # smaller than 256, so not enlarged, nor encoded again
    assert list(images) == [file.read_bytes() for file in sorted((tmp_path / 'train').rglob('*.jpg'))]
    about = json.loads((tmp_path / 't/train.json').read_text())
    for entry in about['shards']:
        assert hashlib.sha256((tmp_path / 't' / entry['name']).read_bytes()).hexdigest() == entry['sha256']


def test_webdataset_reads_them(tmp_path):
    wds = pytest.importorskip('webdataset')
    write_images(tmp_path / 'train')
    prepare_dataset(config(folder(tmp_path)), tmp_path / 't', shard_size=5, workers=0)
    urls = f'{tmp_path}/t/train-{{000000..000002}}.tar'
    read = [(sample['jpg'], int(sample['cls'])) for sample in wds.WebDataset(urls, shardshuffle=False)]
    files = sorted((tmp_path / 'train').rglob('*.jpg'))
    assert read == [(file.read_bytes(), int(file.parent.name[-1])) for file in files]


class StoppedError(Exception):
    pass


def test_the_same_call_goes_on(tmp_path, monkeypatch):
    write_images(tmp_path / 'train')
    cfg, target = config(folder(tmp_path)), tmp_path / 't'
    write = prepare.write_shard

    def stop_at_the_second(shard, plan, first, samples, contents, advance):
        def some():
            yield from list(contents)[:2]
            raise StoppedError

        return write(shard, plan, first, samples, some() if first else contents, advance)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, 'write_shard', stop_at_the_second)
        with pytest.raises(StoppedError):
            prepare_dataset(cfg, target, shard_size=5, workers=0)
    assert [file.name for file in target.glob('*.tar')] == ['train-000000.tar']
    with pytest.raises(UserError, match=r'train\.json does not exist'):
        ShardDataset(str(target))
    before = (target / 'train-000000.tar').stat()
    progress = []
    [part] = prepare_dataset(cfg, target, shard_size=5, workers=0, progress=lambda *now: progress.append(now))
    assert part.kept == 1 and progress[0] == (5, 12) and progress[-1] == (12, 12)
    assert (target / 'train-000000.tar').stat().st_ino == before.st_ino
    assert not list(target.glob('*.part'))
    prepare_dataset(cfg, tmp_path / 'whole', shard_size=5, workers=2)  # in several processes, without a stop
    assert {f.name: f.read_bytes() for f in target.iterdir()} == {
        f.name: f.read_bytes() for f in (tmp_path / 'whole').iterdir()
    }

    with pytest.raises(UserError, match=r'train-000000\.tar is there, of other images or settings'):
        prepare_dataset(cfg, target, shard_size=5, raw=True, workers=0)
    with pytest.raises(UserError, match=r'train-000001\.tar is there, of other images or settings'):
        prepare_dataset(cfg, target, shard_size=12, workers=0)
    content = bytearray((target / 'train-000001.tar').read_bytes())
    content[700] ^= 1
    (target / 'train-000001.tar').write_bytes(content)
    with pytest.raises(UserError, match=r'train-000001\.tar is damaged \(its SHA-256 is another\)'):
        prepare_dataset(cfg, target, shard_size=5, workers=0)
