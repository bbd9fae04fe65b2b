import pytest
from support.rdnet_stages import make_stage


@pytest.fixture
def stage(request):
    """With eSE and gamma, or as its parameter says."""
    return make_stage(*getattr(request, 'param', (True, True)))
