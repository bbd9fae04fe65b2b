"""A checklist that is not known is refused by name."""

import pytest

from mmdensenet.apis.checklist import make_checklist
from mmdensenet.errors import UserError


def test_an_unknown_one(tmp_path):
    with pytest.raises(UserError, match='checklist=consort: choose claim, tripod, stard'):
        make_checklist('config.py', 'x.pth', 'consort', tmp_path / 'c.md')
