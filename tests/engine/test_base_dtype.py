"""Training on a base stored in fewer bits: it goes on where it was, averages are those of what is
trained, and what is frozen keeps every byte."""

import pytest
from mmengine.runner import load_checkpoint

from mmsam_peft.adapters.file import read_adapter
from mmsam_peft.registry import MODELS


def options(way: str, **more) -> dict:
    ema = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.3)
    return {
        'model.backbone.base_dtype': way,
        'optim_wrapper.type': 'AutocastOptimWrapper',
        'train_cfg.max_epochs': 2,
        'custom_hooks': [dict(type='AdapterHook'), dict(type='PlainCheckpointHook'), ema],
        **more,
    }


@pytest.mark.parametrize('way', [pytest.param('bfloat16', marks=pytest.mark.slow), 'nf4'])
def test_averaged_and_resumed(make_runner, root, way):
    whole = make_runner(options(way))
    whole.train()
    kept = root / 'work' / 'adapter_last.safetensors'
    averages, _ = read_adapter(kept)
    (root / 'work' / 'epoch_2.pth').rename(root / 'epoch_2.pth')
    again = make_runner(options(way, resume=True))
    again.train()
    fresh = MODELS.build(whole.cfg.model)
    fresh.init_weights()
    own = dict(fresh.named_parameters())
    for name, one in again.model.named_parameters():
        assert one.equal(whole.model.get_parameter(name)), name
        frozen = name.startswith('backbone.') and not one.requires_grad
        assert not frozen or one.dtype == own[name].dtype and one.equal(own[name])
    assert all(value.equal(averages[name]) for name, value in read_adapter(kept)[0].items())
    load_checkpoint(fresh, str(root / 'epoch_2.pth'))
    trained = dict(again.model.named_parameters())
    state = fresh.state_dict()
    assert all(value.equal(state[name]) for name, value in averages.items())
    assert not any(value.equal(trained[name]) for name, value in averages.items() if 'lora' in name)
