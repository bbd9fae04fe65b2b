"""mmdensenet.registry: what it registers is found from every scope, and without having been imported."""

import json
import sys

import pytest
from mmengine.registry import DefaultScope, root

NAMES = {
    'model': 'DenseNet',
    'dataset': 'CSVDataset',
    'transform': 'LoadImage',
    'data sampler': 'BalancedSampler',
    'metric': 'RankingMetric',
    'hook': 'ExactResumeHook',
    'loop': 'EpochBasedTrainLoop',
    'visualizer': 'FastVisualizer',
}
ROOTS = {registry.name: registry for registry in vars(root).values() if hasattr(registry, 'name')}


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain', 'mydet'])
@pytest.mark.parametrize(('registry', 'name'), NAMES.items())
def test_found_from_every_scope(scope, registry, name):
    DefaultScope.get_instance(f'test-{scope}', scope_name=scope)
    assert ROOTS[registry].get(f'mmdensenet.{name}').__name__ == name


def test_found_where_only_mmdensenet_is_imported(run_command):
    code = (
        'import json, mmdensenet, mmengine.registry.root as root\n'
        f'names = {NAMES!r}\n'
        'found = {r.name: r for r in vars(root).values() if hasattr(r, "name")}\n'
        'print(json.dumps([found[r].get("mmdensenet." + name).__name__ for r, name in names.items()]))'
    )
    done = run_command(sys.executable, '-W', 'ignore', '-c', code)
    assert done.status == 0, done.err
    assert json.loads(done.out.splitlines()[-1]) == list(NAMES.values())
