"""mmdensenet.utils: what mmengine.hub calls."""

from mmengine.registry import HOOKS, DefaultScope

from mmdensenet.utils import register_all_modules


def test_registers_and_sets_the_scope_of_our_configs_if_asked_to():
    register_all_modules(init_default_scope=False)
    assert DefaultScope.get_current_instance() is None
    register_all_modules()
    assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'
    assert HOOKS.get('mmdensenet.ExactResumeHook')
