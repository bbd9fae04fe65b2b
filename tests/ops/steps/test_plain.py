"""The steps in plain torch beside their formulas in float64."""

import pytest
from step_checks import CASES, CHECKS, IDS

from mmdensenet.ops.steps.plain import plain_steps


@pytest.mark.parametrize('case', CASES, ids=IDS)
@pytest.mark.parametrize('check', CHECKS)
def test_formulas(check, case):
    CHECKS[check](plain_steps, case)
