import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample
from PIL import Image

from mmsam_peft.analysis.expert_usage import (
    LayerUse,
    effective_number,
    gates_of,
    image_table,
    measure_usage,
    plot_usage,
    usage_table,
)

CONV_LORA = {'model.backbone.peft': dict(type='ConvLoRA', num_experts=3)}


def sample(value: int) -> dict:
    """An image of one grey, so that every token of a window is the same."""
    return dict(
        inputs=torch.full((3, 64, 64), value, dtype=torch.uint8),
        data_samples=SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64))),
    )


def test_effective_number():
    assert effective_number(np.array([1.0, 0, 0])) == 1
    assert effective_number(np.full(8, 1 / 8)) == pytest.approx(8)
    assert effective_number(np.array([0.5, 0.5, 0])) == pytest.approx(2)


def test_what_the_gates_pick(build):
    """Block 0 has windows of 3 x 3 on a map of 4 x 4, so four an image; block 1 is global. A gate
    without weights picks the first expert, and its noise any; one with a huge weight picks by the
    sign of what it sees, with and without noise."""
    model = build(CONV_LORA, trained=True)
    layers = gates_of(model.backbone)
    assert list(layers) == ['block 0', 'block 1']
    layers['block 0'].lora_w_gate.data.zero_()
    layers['block 0'].lora_w_noise.data.zero_()
    layers['block 1'].lora_w_gate.data.zero_()
    layers['block 1'].lora_w_gate.data[0] = torch.tensor([0.0, 1e4, -1e4])
    seen = []
    layers['block 1'].register_forward_pre_hook(
        lambda layer, x: seen.append((x[0] @ layer.lora_A.T).mean((1, 2))[0, 0].item())
    )
    first, second = measure_usage(model, map(sample, (0, 100, 255)))
    assert first.chosen.shape == (3, 4) and (first.chosen == 0).all()
    np.testing.assert_allclose(first.noisy, 1 / 3, atol=1e-6)
    assert second.chosen.tolist() == [[1 if value > 0 else 2] for value in seen]
    np.testing.assert_allclose(second.noisy.max(1), 1, atol=1e-6)
    assert second.noisy.argmax(1).tolist() == second.chosen[:, 0].tolist()


def test_an_encoder_without_gates(build):
    for peft in (dict(type='LoRA'), dict(type='ConvLoRA', mixture='sum')):
        with pytest.raises(ValueError, match='has no gate that chooses among experts'):
            gates_of(build({'model.backbone.peft': peft}).backbone)


@pytest.fixture
def uses() -> list[LayerUse]:
    chosen = np.array([[0, 0, 1, 0], [2, 2, 2, 0]])
    noisy = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    return [
        LayerUse('block 0', (1, 2, 3), chosen, noisy),
        LayerUse('block 1', (1, 2, 3), np.array([[1], [1]]), np.full((2, 3), 1 / 3)),
    ]


def test_tables(uses):
    assert usage_table(uses).rows == [
        ['block 0', '4', '1', '50 %', '1 of 2', '2.65', '2.83'],
        ['block 1', '1', '2', '100 %', '2 of 2', '1.00', '3.00'],
    ]
    assert image_table(uses, ['a.png', 'b.png']).rows == [
        ['a.png', 'block 0', '3', '1', '0'],
        ['b.png', 'block 0', '1', '0', '3'],
        ['a.png', 'block 1', '0', '1', '0'],
        ['b.png', 'block 1', '0', '1', '0'],
    ]


def test_picture(uses, tmp_path):
    plot_usage(uses, tmp_path / 'usage.png', 'title')
    assert len(np.unique(np.asarray(Image.open(tmp_path / 'usage.png').convert('L')))) > 50
