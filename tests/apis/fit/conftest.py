"""Fixtures of the tests of fit."""

import json

import pytest

from mmdensenet.apis.fit import write_config


@pytest.fixture(autouse=True, scope='session')
def memory_is_predicted_once():
    """For each network, optimizer and shape: a second of running it on the meta device for most calls of fit.

    The mean and deviation of the images change none of it. tests/analysis/test_stage_costs.py is of the prediction.
    """
    predict, found = write_config.predict_memory, {}

    def remembered(cfg, shape, engine):
        settings = cfg.to_dict()
        settings['model']['data_preprocessor'] = {}
        key = json.dumps([settings, shape, engine], default=str, sort_keys=True)
        if key not in found:
            found[key] = predict(cfg, shape, engine)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_config, 'predict_memory', remembered)
        yield
