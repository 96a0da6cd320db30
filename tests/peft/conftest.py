"""Small hosts of a method: an encoder, and the two-way transformer of a mask decoder."""
import pytest
import torch
from torch import Tensor, nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import apply_peft, build_method
from mmsam_peft.registry import PEFT

ARCH = dict(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16)


class Encoder:
    """One windowed and one global block on a 4 x 4 grid, which the windows of 3 do not divide."""

    depth = 2

    def build(self, peft: dict | None, seed: int = 0, **settings) -> nn.Module:
        torch.manual_seed(seed)
        return SAMViT(ARCH, img_size=64, peft=peft, **settings)

    def inputs(self, seed: int = 0, batch: int = 2) -> tuple[Tensor, ...]:
        return (torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(seed)),)

    def run(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return model(*inputs)[0]


class Decoder:
    """Two two-way layers and the final attention, for three tokens and a 4 x 4 map."""

    depth = 3

    def build(self, peft: dict | None, seed: int = 0) -> nn.Module:
        from segment_anything.modeling.transformer import TwoWayTransformer  # importable once mmsam_peft is
        torch.manual_seed(seed)
        model = TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64)
        model.peft = peft and build_method(peft)
        if peft:
            apply_peft(model, model.peft)
        return model

    def inputs(self, seed: int = 0, batch: int = 2) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(batch, *size, generator=generator) for size in ((32, 4, 4), (32, 4, 4), (3, 32)))

    def run(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        tokens, image = model(*inputs)
        return torch.cat([tokens, image], 1)


HOSTS = dict(encoder=Encoder(), decoder=Decoder())
CASES = [(name, host) for name, kind in sorted(PEFT.module_dict.items()) for host in HOSTS
         if host == 'encoder' or kind.in_decoder]


@pytest.fixture(params=CASES, ids='-'.join)
def case(request) -> tuple[str, Encoder | Decoder]:
    """Every registered method in every host it goes into."""
    name, host = request.param
    return name, HOSTS[host]
