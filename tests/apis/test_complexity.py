"""Costs of a config's model."""

import pytest
from small_costs import small

from mmdensenet.analysis.stage_costs import count_stages
from mmdensenet.apis.complexity import complexity, parse_bytes
from mmdensenet.errors import UserError


def test_where_the_fused_engine_does_not_apply():
    cfg = small(norm_cfg=dict(type='GN', num_groups=4))
    stages, reason = count_stages(cfg, (3, 16, 16))
    assert 'GroupNorm' in reason
    assert all(list(stage.multiply_adds) == ['reference'] for stage in stages)
    assert list(complexity(cfg, size=[16], measure=False)['memory']) == ['reference']


@pytest.mark.parametrize(
    ('text', 'expected'), [('24GB', 24e9), ('24 GiB', 24 * 2**30), ('500m', 5e8), ('1.5T', 1.5e12), ('7', 7)]
)
def test_bytes(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize('text', ['', 'GB', '1.2.3G', '-1G', '5 apples'])
def test_no_bytes(text):
    with pytest.raises(UserError, match='memory='):
        parse_bytes(text)
