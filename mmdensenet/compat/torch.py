"""Faults of torch; the module with the replacement registers it."""

from .faults import Fault

SYNC_BATCH_NORM = Fault(
    what="norm_cfg=dict(type='SyncBN') refuses CPU tensors",
    versions='torch up to 2.13',
    until='torch.nn.SyncBatchNorm supports gloo',
    targets=('torch.nn:SyncBatchNorm',),
)
RANDOM_SAMPLES = Fault(
    what='the random numbers of a sample depend on the worker that reads it and on what that has read before, so a '
    'resumed run draws others',
    versions='torch up to 2.13',
    until="torch's DataLoader seeds each sample by its number",
    targets=('torch.utils.data._utils.fetch:_MapDatasetFetcher.fetch',),
)
