"""The ``mmdensenet`` scope: children of mmengine's root registries, so that ``mmdensenet.X`` is found from any scope.

(A child of mmpretrain's registries would be found from mmpretrain's scope only.) Our configs live in mmpretrain's
scope, which finds its own classes by their plain names and ours by ``mmdensenet.X``; so there is a registry only for
what mmdensenet itself adds.
"""

from mmengine.registry import DATA_SAMPLERS as ROOT_DATA_SAMPLERS
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import VISUALIZERS as ROOT_VISUALIZERS
from mmengine.registry import Registry

MODELS = Registry('model', parent=ROOT_MODELS, scope='mmdensenet', locations=['mmdensenet.models'])
DATASETS = Registry('dataset', parent=ROOT_DATASETS, scope='mmdensenet', locations=['mmdensenet.datasets'])
TRANSFORMS = Registry('transform', parent=ROOT_TRANSFORMS, scope='mmdensenet', locations=['mmdensenet.datasets'])
DATA_SAMPLERS = Registry(
    'data sampler', parent=ROOT_DATA_SAMPLERS, scope='mmdensenet', locations=['mmdensenet.datasets']
)
METRICS = Registry('metric', parent=ROOT_METRICS, scope='mmdensenet', locations=['mmdensenet.results'])
HOOKS = Registry('hook', parent=ROOT_HOOKS, scope='mmdensenet', locations=['mmdensenet.training.hooks'])
LOOPS = Registry('loop', parent=ROOT_LOOPS, scope='mmdensenet', locations=['mmdensenet.training.loops'])
VISUALIZERS = Registry(
    'visualizer', parent=ROOT_VISUALIZERS, scope='mmdensenet', locations=['mmdensenet.results.visualizer']
)
