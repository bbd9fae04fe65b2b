import pytest

from mmdensenet.training.hooks import LatestBestCheckpointHook


@pytest.mark.parametrize(('rule', 'other'), [('greater', 0.5), ('less', 1.5)])
def test_of_equal_values_the_latest_is_better_and_nan_never(rule, other):
    hook = LatestBestCheckpointHook(save_best='auroc', rule=rule)
    better = hook.is_better_than['auroc'] if isinstance(hook.is_better_than, dict) else hook.is_better_than
    assert better(1.0, 1.0)
    assert better(1.0, other) and not better(other, 1.0)
    assert not better(float('nan'), 1.0)
