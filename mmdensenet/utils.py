"""The module ``utils`` that ``mmengine.hub`` and mmengine's registries expect of every OpenMMLab package."""

import time

from mmengine.registry import DefaultScope

from .compat.mmengine_configs import CONFIG_SCOPE


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register what mmdensenet adds; with ``init_default_scope`` also make our configs' scope the default one.

    mmengine.hub.get_model builds in the scope of the package it was asked for; our configs are for mmpretrain's.
    """

    if init_default_scope:
        DefaultScope.get_instance(f'mmdensenet-{time.time()}', scope_name=CONFIG_SCOPE)
