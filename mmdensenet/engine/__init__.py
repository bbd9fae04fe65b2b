"""Former names of public modules, so that imports of them go on working: they are the modules of today."""

import sys

from mmdensenet import results
from mmdensenet.checkpoints import checkpoint, checkpoint_file, checkpoint_sources, work_dir
from mmdensenet.training import hooks

for name, module in dict(
    checkpoint=checkpoint,
    checkpoint_file=checkpoint_file,
    checkpoint_sources=checkpoint_sources,
    hooks=hooks,
    metrics=results,
    work_dir=work_dir,
).items():
    globals()[name] = sys.modules[f'{__name__}.{name}'] = module
