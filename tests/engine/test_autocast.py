import torch
from torch import nn

from mmsam_peft.registry import OPTIM_WRAPPERS


def test_forward_in_bfloat16_with_float32_parameters():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='AutocastOptimWrapper', optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    )
    x, seen, losses = torch.randn(32, 4), [], []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for _ in range(20):
        with wrapper.optim_context(model):
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert set(seen) == {torch.bfloat16}
    assert model(x).dtype == torch.float32, 'only within the context'
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert losses[-1] < 0.1 * losses[0]


def test_training_runs_in_bfloat16(make_runner):
    runner, seen = (
        make_runner(
            {
                'optim_wrapper.type': 'AutocastOptimWrapper',
                'train_cfg.max_epochs': 1,
                'model.backbone.peft.type': 'ConvLoRA',
            }
        ),
        {True: set(), False: set()},
    )
    layer = runner.model.backbone.blocks[0].attn.qkv
    layer.register_forward_hook(
        lambda module, inputs, output: seen[module.training].add(output.dtype)
    )
    before = layer.lora_B.detach().clone()
    runner.train()
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert all(
        parameter.dtype == torch.float32 and parameter.isfinite().all()
        for parameter in runner.model.parameters()
    )
    assert not layer.lora_B.equal(before)
