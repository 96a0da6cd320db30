import pytest
import torch

from mmsam_peft.finite import NotFiniteError, not_finite, require_finite


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize(
    'dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64]
)
def test_one_number_among_many(dtype, value):
    broken = torch.ones(3, 1000).to(dtype)
    broken[1, 7] = value
    assert not_finite(dict(a=torch.ones(2).to(dtype), b=broken, c=broken.T)) == ['b', 'c']


def test_what_is_finite():
    """Sums of the first three overflow; 8 bits know no infinity; what attention adds is -inf where
    nothing is to be seen."""
    largest = [
        torch.full((9,), torch.finfo(dtype).max, dtype=dtype)
        for dtype in (torch.float32, torch.float16, torch.float64)
    ]
    others = [
        torch.ones(2).to(torch.float8_e4m3fn),
        torch.tensor(2**62),
        torch.ones(2, dtype=torch.bool),
        torch.empty(0),
        torch.empty(2, device='meta'),
    ]
    tensors = dict(enumerate([*largest, *others]))
    assert not_finite({f'{key}': value for key, value in tensors.items()}) == []
    mask = torch.tensor([0.0, -torch.inf])
    assert not_finite({'attn_mask': mask, 'mask.weight': mask, 'other_mask': -mask}) == [
        'mask.weight',
        'other_mask',
    ]
    assert not_finite({'eight': torch.tensor([1.0, torch.nan]).to(torch.float8_e4m3fn)}) == [
        'eight'
    ]


def test_the_message_names_the_first_tensors_however_deep():
    broken = torch.tensor([1.0, torch.nan, torch.inf])
    content = dict(
        good=torch.ones(1),
        state=[dict(step=3, exp_avg=broken), (broken, broken)],
        text='nan',
        last=broken,
    )
    with pytest.raises(
        NotFiniteError,
        match=r'^A {file} holds numbers that are NaN or infinite \(state.0.exp_avg: 2 of 3 '
        r'numbers; state.1.0: .*; state.1.1: 2 of 3 numbers; and 1 more tensors\). Copy it again.$',
    ):
        require_finite(content, 'A {file}', 'Copy it again.')
