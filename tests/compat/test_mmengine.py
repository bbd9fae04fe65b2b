"""mmdensenet.compat.mmengine: what broke works, and nothing else changes. Configs: test_mmengine_configs.py."""

import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS


def test_loops_by_iterations_start_to_read_when_they_run():
    from mmengine.runner.loops import _InfiniteDataloaderIterator

    class Loader:
        batches = (1, 2)

        def __iter__(self):
            return iter(self.batches)

    loader = Loader()
    iterator = _InfiniteDataloaderIterator(loader)
    loader.batches = (3, 4)  # as a hook does
    assert [next(iterator), next(iterator)] == [3, 4]


def test_subsets_are_copies_of_their_own():
    dataset = DATASETS.build(dict(type='mmdensenet.Digits', pipeline=[dict(type='PackInputs')]))
    first = dataset.get_subset(range(3))
    dataset.pipeline.transforms.clear()
    second = dataset.get_subset(range(3))
    assert len(first) == len(second) == 3
    assert len(first.pipeline.transforms) == 1 and not second.pipeline.transforms, 'as it is when it is copied'


def test_runs_within_a_second_share_nothing(tmp_path):
    runs = [
        Runner(torch.nn.Linear(1, 1), str(tmp_path / name), experiment_name='a', log_level='ERROR') for name in 'bcc'
    ]
    for part in ('experiment_name', 'logger', 'message_hub', 'visualizer', 'log_dir'):
        assert len({id(getattr(run, part)) for run in runs}) == len({str(run.log_dir) for run in runs}) == 3, part


def test_an_inferencer_of_weights_alone_says_why_not(tmp_path):
    """It would execute the config text in the checkpoint."""
    from mmengine.infer import BaseInferencer

    from mmdensenet.errors import UserError

    class Inferencer(BaseInferencer):
        def _init_pipeline(self, cfg):
            return lambda item: item

        visualize = postprocess = None

    file, ran = tmp_path / 'w.pth', tmp_path / 'ran'
    text = f"open({str(ran)!r}, 'w')\nmodel = dict(type='mmengine.ToyModel')"
    torch.save(dict(state_dict={}, meta=dict(cfg=text)), file)
    with pytest.raises(UserError, match=rf'^{file}: its config is the text of a program.*: give the config too'):
        Inferencer(weights=str(file))
    assert not ran.exists()
    assert torch.load(file, weights_only=True)['meta']['cfg'] == text, 'as the message says'


def test_loaders_of_checkpoints_keep_their_names():
    """mmengine logs what follows the tenth letter of the function's name."""
    from mmengine.runner import CheckpointLoader

    for path, name in (
        ('a.pth', 'local'), ('https://x/a.pth', 'http'), ('s3://a.pth', 'ceph'), ('pavi://a', 'pavi'),
        ('torchvision://a', 'torchvision'), ('openmmlab://a', 'openmmlab'), ('mmcls://a', 'mmcls'),
    ):  # fmt: skip
        assert CheckpointLoader._get_checkpoint_loader(path).__name__ == f'load_from_{name}'
