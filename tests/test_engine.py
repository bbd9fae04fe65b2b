"""mmdensenet.engine: the public names of before the rooms had their names are today's modules."""

import importlib

import pytest

from mmdensenet.checkpoints import checkpoint, checkpoint_file, checkpoint_sources, work_dir
from mmdensenet.results import RankingMetric
from mmdensenet.training import hooks


@pytest.mark.parametrize(
    ('former', 'today'),
    [
        ('metrics.RankingMetric', RankingMetric),
        ('hooks.ExactResumeHook', hooks.ExactResumeHook),
        ('checkpoint.load_from_file', checkpoint.load_from_file),
        ('checkpoint_sources.load_from_url', checkpoint_sources.load_from_url),
        ('checkpoint_file.what_is_wrong', checkpoint_file.what_is_wrong),
        ('work_dir.newest_that_verifies', work_dir.newest_that_verifies),
    ],
)
def test_former_public_names(former, today):
    module, name = former.split('.')
    assert getattr(importlib.import_module(f'mmdensenet.engine.{module}'), name) is today
