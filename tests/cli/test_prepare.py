"""The options of `prepare` become arguments, and it says what it has written."""

from conftest import write_images

from mmdensenet_cli import prepare
from mmdensenet_cli.start import make_parser

CONFIG = """model = dict(type='ImageClassifier')
data = dict(type='CustomDataset', data_root={root!r}, pipeline=[dict(type='LoadImageFromFile')])
train_dataloader = dict(batch_size=1, dataset=dict(type='RepeatDataset', times=2, dataset=data))
del data
"""


def test_a_folder_is_copied(tmp_path, capsys):
    config, target = tmp_path / 'c.py', str(tmp_path / 'shards')
    config.write_text(CONFIG.format(root=str(write_images(tmp_path / 'images', classes=2, per_class=3))))
    options = '--splits train --shard-size 4 --raw --workers 0'
    args = make_parser(prepare).parse_args([str(config), target, *options.split()])
    for there in ('', ', 2 of them there before'):
        prepare.run(args)
        lines = capsys.readouterr().out.splitlines()
        assert lines == [
            f'train: 6 images in 2 shards{there}, 0.0 MB',
            f"In a config: type='mmdensenet.ShardDataset', data_root={target!r}, split='train'",
            'train: keep RepeatDataset round it; each image is copied once.',
        ]
