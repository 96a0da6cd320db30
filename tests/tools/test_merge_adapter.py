import pytest
import torch
from safetensors.torch import load_file

from mmsam_peft.apis.inference import init_model


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_file_is_a_base_for_any_config(call, lora, tmp_path, capsys, suffix):
    out, image = tmp_path / 'new' / f'sam{suffix}', torch.randn(1, 3, 64, 64)
    call('merge_adapter.py', *lora, out)
    assert (
        'with the tuned mask decoder; relative difference to the adapted model'
        in capsys.readouterr().out
    )
    state = load_file(out) if suffix == '.safetensors' else torch.load(out)
    assert not [key for key in state if 'lora' in key]
    plain = init_model(lora[0], None, 'cpu', {'model.checkpoint': str(out)})
    with torch.no_grad():
        torch.testing.assert_close(
            plain(image), init_model(*lora, 'cpu')(image), rtol=1e-4, atol=1e-5
        )


def test_method_that_does_not_merge(call, adapter, config, tmp_path):
    with pytest.raises(ValueError, match='ConvLoRA merges only in part'):
        call('merge_adapter.py', config, adapter, tmp_path / 'sam.pth')
    assert not (tmp_path / 'sam.pth').exists()


def test_name_of_the_file(call, adapter, config, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call('merge_adapter.py', config, adapter, tmp_path / 'sam.bin')
    assert 'has to end in .pth or .safetensors' in capsys.readouterr().err


def test_its_own_inputs_stay(call, lora, base_weights, tmp_path):
    """By whatever path they are named."""
    (tmp_path / 'link').symlink_to(base_weights.parent)
    before = base_weights.read_bytes(), lora[1].read_bytes()
    for out in (base_weights, tmp_path / 'link' / base_weights.name, lora[1]):
        with pytest.raises(
            ValueError, match='is one of the files that it would be made from: give another name'
        ):
            call('merge_adapter.py', *lora, out)
    assert before == (base_weights.read_bytes(), lora[1].read_bytes())
