import numpy as np
import pytest
from ranking_in_two_processes import draw
from two_processes import in_two_processes

from mmdensenet.datasets import BalancedSampler, balanced_sampler
from mmdensenet.errors import UserError


class Labels:
    """A data set of labels only."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_cat_ids(self, i):
        return self.labels[i]


def test_classes_come_equally_often():
    dataset = Labels([[0]] * 900 + [[1]] * 90 + [[2]] * 10)
    sampler = BalancedSampler(dataset, num_samples=9000, seed=0)
    drawn = np.array(list(sampler))
    assert len(drawn) == len(sampler) == 9000
    assert np.bincount([dataset.labels[i][0] for i in drawn]) / 9000 == pytest.approx(np.full(3, 1 / 3), abs=0.02)
    assert len(set(drawn)) > 900, 'of the common class many different samples'


def test_several_labels_count_as_the_rarest_and_none_as_a_class():
    dataset = Labels([[0]] * 60 + [[0, 1]] * 10 + [[]] * 30)
    drawn = np.array(list(BalancedSampler(dataset, num_samples=6000, seed=0)))
    shares = [(drawn < 60).mean(), ((drawn >= 60) & (drawn < 70)).mean(), (drawn >= 70).mean()]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)


def test_ranks_share_one_list_and_epochs_differ(monkeypatch):
    dataset = Labels([[i % 2] for i in range(11)])
    lists = []
    for rank in (0, 1):
        monkeypatch.setattr(balanced_sampler, 'get_dist_info', lambda rank=rank: (rank, 2))
        sampler = BalancedSampler(dataset, seed=3)
        lists.append(list(sampler))
        assert len(lists[-1]) == len(sampler) == 6
    monkeypatch.setattr(balanced_sampler, 'get_dist_info', lambda: (0, 1))
    sampler = BalancedSampler(dataset, num_samples=12, seed=3)
    whole = list(sampler)
    assert whole[0::2] == lists[0] and whole[1::2] == lists[1]
    assert list(sampler) == whole
    sampler.set_epoch(1)
    assert list(sampler) != whole


@pytest.mark.slow
def test_two_processes_share_a_seed_that_none_was_given():
    first, second = in_two_processes(draw)
    assert first['seed'] == second['seed']
    for epoch in range(2):
        ours, theirs = first['epochs'][epoch], second['epochs'][epoch]
        assert len(ours) == len(theirs) == 500 and ours != theirs
        assert np.mean(np.array(ours + theirs) >= 90) == pytest.approx(0.5, abs=0.06), 'the rare class is half of both'
    assert first['epochs'][0] != first['epochs'][1]


def test_empty():
    with pytest.raises(UserError, match='empty'):
        BalancedSampler(Labels([]))
