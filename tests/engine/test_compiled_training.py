import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

COMPILED = {'model.backbone.compile': dict(backend='aot_eager', fullgraph=True)}


def test_compiled_blocks_train_validate_and_resume_as_plain_ones(make_runner, root):
    """Validation, of other batches, after each of two epochs; the second resumes the first,
    compiled anew."""

    def train(folder, **options):
        runner = make_runner(
            {
                'work_dir': str(root / folder),
                'model.checkpoint': None,
                'model.backbone.arch.depth': 1,
                'model.backbone.arch.global_attn_indexes': (),
                'train_cfg.max_epochs': 2,
                **options,
            }
        )
        runner.train()
        return runner

    plain = train('plain')
    train('compiled', **COMPILED, **{'train_cfg.max_epochs': 1})
    torch.compiler.reset()
    resumed = train('compiled', **COMPILED, resume=True)
    assert resumed.iter == 6 and all(
        block._compiled_call_impl for block in resumed.model.backbone.blocks
    )
    assert resumed.model.state_dict().keys() == plain.model.state_dict().keys()
    first, second = (
        load_file(root / folder / 'adapter_last.safetensors') for folder in ('plain', 'compiled')
    )
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-4, atol=1e-5)
