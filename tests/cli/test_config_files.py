"""Names of configs."""

import pytest

from mmdensenet_cli.configs import complete_name


@pytest.mark.parametrize(
    ('begun', 'name'),
    [
        ('densenet161_4xb64', 'densenet161_4xb64_in1k'),
        ('csv', 'densenet121_1xb32_csv'),
        ('rdnet-large_', 'rdnet-large_8xb64_in1k'),
    ],
)
def test_a_name_is_completed(begun, name):
    assert complete_name(begun) == name
