"""Configs as plain data, to be stored in JSON files and compared."""

import json

from mmengine.config import Config

from ...adapters.match import with_defaults
from ...registry import PEFT

SET_BY_TOOLS = ('work_dir', 'launcher')


def settings_of(config: Config) -> dict:
    """The whole config as JSON gives it back, without what the tools set; see
    :func:`peft_with_defaults`."""
    settings = {key: value for key, value in config.to_dict().items() if key not in SET_BY_TOOLS}
    return peft_with_defaults(json.loads(json.dumps(settings, default=str)))


def peft_with_defaults(settings: dict) -> dict:
    """Settings with the defaults of their fine-tuning method written out, so that a new option of a
    method changes nothing."""
    backbone = settings['model']['backbone']
    if not backbone.get('peft'):
        return settings
    return {
        **settings,
        'model': {
            **settings['model'],
            'backbone': {**backbone, 'peft': with_defaults(PEFT, backbone['peft'])},
        },
    }


def test_of(settings: dict) -> dict:
    """What makes scores comparable: the test data set, how it is scored, and at which size; its
    pipeline apart from that is the method's own."""
    dataset = dict(settings['test_dataloader']['dataset'])
    steps = dataset.pop('pipeline', None) or []
    return dict(
        test_dataset=dataset,
        test_evaluator=settings['test_evaluator'],
        scored_at=[step for step in steps if step.get('type') == 'ScoreAt'],
    )


def differences(found: dict, asked: dict) -> str:
    """Where two nested dicts differ, at most three entries: ``optimizer.lr: found 0.1, asked
    0.2``."""

    def walk(one, other, name: str) -> list[str]:
        if isinstance(one, dict) and isinstance(other, dict):
            return [
                line
                for key in {**one, **other}
                for line in walk(
                    one.get(key, 'nothing'), other.get(key, 'nothing'), f'{name}.{key}'
                )
            ]
        return [] if one == other else [f'{name[1:]}: found {one!r:.80}, asked {other!r:.80}']

    lines = walk(found, asked, '')
    return '; '.join(lines[:3]) + (f' and {len(lines) - 3} more' if len(lines) > 3 else '')
