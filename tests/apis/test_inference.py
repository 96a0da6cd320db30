import pytest
import torch

from mmsam_peft.apis.inference import build_to_count, init_model


def test_without_weights_the_base_is_loaded_and_the_data_set_names_the_classes(tiny, tmp_path):
    model = init_model(tiny(), device='cpu')
    base = torch.load(tmp_path / 'base.pth')
    assert model.backbone.blocks[0].mlp.lin1.weight.equal(base['image_encoder.blocks.0.mlp.lin1.weight'])
    assert model.dataset_meta['classes'] == ('background', 'disc')


def test_options_and_absent_files(ready, tiny, tmp_path):
    config = tiny()
    with pytest.raises(ValueError, match='another peft'):
        init_model(config, ready[1], cfg_options={'model.backbone.peft.rank': 5})
    assert config.model.backbone.peft == dict(type='LoRA')
    for weights in ('absent.pth', 'absent.safetensors'):
        with pytest.raises(FileNotFoundError, match=weights):
            init_model(config, tmp_path / weights)
    with pytest.raises(FileNotFoundError, match='There is no checkpoint .*none.pth'):
        init_model(config, ready[1], cfg_options={'model.checkpoint': str(tmp_path / 'none.pth')})


def test_build_to_count(tiny):
    model = build_to_count(tiny({'model.checkpoint': 'not even looked for'}))
    assert all(tensor.is_meta for tensor in model.state_dict().values())
