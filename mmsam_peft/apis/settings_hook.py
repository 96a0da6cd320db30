"""Programs that do not know our settings are told so."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from .protocols import PROTOCOLS
from .settings import check_settings


@HOOKS.register_module()
class SettingsHook(Hook):
    """Refuses a config whose settings have not reached their places, as when a tool of
    MMSegmentation reads one.

    Raises:
        ValueError: See ``check_settings``.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        check_settings(runner.cfg)
        if protocol := runner.cfg.get('protocol'):
            source = PROTOCOLS[protocol].source
            runner.logger.info(f'Losses and scores by the protocol {protocol}: {source}')
