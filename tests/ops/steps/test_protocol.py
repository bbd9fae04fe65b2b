"""All steps have one signature."""

import inspect

import pytest

from mmdensenet.ops.steps import native
from mmdensenet.ops.steps.plain import PlainSteps
from mmdensenet.ops.steps.plain import plain_steps as plain
from mmdensenet.ops.steps.protocol import Steps


@pytest.mark.parametrize('name', [name for name in vars(Steps) if not name.startswith('_') and name != 'name'])
def test_all_steps_take_the_same_arguments(name, native_kernels):
    """So that a block can be computed by any of them."""
    pytest.importorskip('triton')
    from mmdensenet.ops.steps.triton import triton_steps

    wanted = getattr(PlainSteps, name)
    if not callable(wanted):
        return
    want = list(inspect.signature(getattr(plain, name)).parameters.values())
    for steps in (native.float32_steps, native.bfloat16_steps, triton_steps):
        got = list(inspect.signature(getattr(steps, name)).parameters.values())
        assert [(p.name, p.default) for p in got] == [(p.name, p.default) for p in want], steps.name
