"""Encoders to benchmark: those of this package, and the usual forms of the same mathematics that
they are measured against."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.backbones.sam_vit import ARCHS, COMMON
from ..models.backbones.variants import VARIANTS, defaults_of
from ..peft import apply_peft, build_method, specialise_in_place
from ..peft.conv_lora import ConvLoRALinear
from ..peft.lora import LoRA, LoRALinear
from ..peft.notation import parse_method
from ..registry import MODELS
from .hugging_face import HuggingFace
from .timm_sam import TimmSAM

FORMS = ('sam', 'hf', 'timm', 'eager', 'plain', 'checkpointed')


class PlainLoRALinear(LoRALinear):
    """The update as a product of its own, scaled and added."""

    def updated(self, x: Tensor, z: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) + self.scale * F.linear(z, self.B)


class PlainConvLoRALinear(PlainLoRALinear, ConvLoRALinear):
    """Each expert in turn for the samples that chose it: up-sampled, convolved, down-sampled."""

    in_windows = None

    def experts(self, z: Tensor) -> Tensor:
        expert, factor = self.gate(z.mean((1, 2)))
        y = torch.zeros_like(z)
        for e in expert.unique().tolist():
            chosen = (expert == e).nonzero()[:, 0]
            one = z[chosen].permute(0, 3, 1, 2)
            up = F.interpolate(one, scale_factor=e + 1, mode='bicubic')
            up = F.gelu(F.conv2d(up, self.lora_conv_weight[e], self.lora_conv_bias[e], padding=1))
            y = y.index_add(
                0,
                chosen,
                F.interpolate(up, size=one.shape[2:], mode='bicubic')
                .permute(0, 2, 3, 1)
                .to(y.dtype),
            )
        return y if factor is None else y * factor[:, None, None, None]


PLAIN = {LoRALinear: PlainLoRALinear, ConvLoRALinear: PlainConvLoRALinear}


def build_candidate(text: str, arch: str, size: int) -> nn.Module:
    """``LoRA(rank=8)``, or ``FORM:LoRA(rank=8)``, or several ``FORM+FORM:METHOD``; the neck is
    trained throughout.

    Args:
        arch: Of SAM, or the name of an encoder, such as 'sam2.1_hiera_tiny'.

    Forms:
        sam: segment-anything's own encoder, with any method that goes into it, such as LoRA, DoRA
            or Conv-LoRA.
        hf: the encoder of ``transformers`` with LoRA of ``peft``, for SAM, SAM 2 and SAM 3; with
            eager too. SAM 3's has q, k and v apart: it trains what LoRA(split_qkv=True) does.
        timm: that of ``timm``, for SAM, with LoRA of ``peft``.
        eager: the attention matrix in memory.
        plain: LoRA's product apart and added; Conv-LoRA so, and its experts one after the other,
            up-sampling and all.
        checkpointed: activation checkpointing of every block.

    Raises:
        ValueError: No such arch, form or method; forms that do not go together.
    """
    forms, _, method = text.rpartition(':') if ':' in text.partition('(')[0] else ('', '', text)
    forms = forms.split('+') if forms else []
    if unknown := set(forms) - set(FORMS):
        raise ValueError(
            f'{text}: form {sorted(unknown)[0]!r} is unknown: choose from {", ".join(FORMS)}.'
        )
    if arch not in ARCHS and arch not in VARIANTS:
        raise ValueError(f'arch={arch!r} is unknown: use one of {", ".join([*ARCHS, *VARIANTS])}.')
    backbone = dict(type='SAMViT', arch=arch) if arch in ARCHS else VARIANTS[arch].backbone
    if 'sam' in forms and set(forms) & {'eager', 'checkpointed'}:
        raise ValueError(
            f"{text}: segment-anything's encoder is eager and has no checkpointing; with it goes "
            'plain.'
        )
    if 'sam' in forms and backbone['type'] != 'SAMViT':
        raise ValueError(f'{text}: segment-anything has no {arch}.')
    if 'eager' in forms and 'attention' not in defaults_of(backbone['type']):
        raise ValueError(f'{text}: the attention of {arch} has one form.')
    if 'timm' in forms and backbone['type'] != 'SAMViT':
        raise ValueError(f'{text}: timm is there of SAM alone.')
    if 'hf' in forms and set(forms) - {'hf', 'eager'} or 'timm' in forms and len(forms) > 1:
        raise ValueError(f'{text}: hf goes with eager alone, and timm with no form.')
    settings = dict(img_size=size, unfreeze=['neck'])
    if 'sam' in forms:
        encoder = _segment_anything(parse_method(method), backbone['arch'], size)
    elif 'hf' in forms or 'timm' in forms:
        encoder = _with_lora_of_peft(text, parse_method(method), {**backbone, **settings})
    else:
        encoder = MODELS.build(
            dict(
                **backbone,
                **settings,
                peft=parse_method(method),
                **(dict(attention='eager') if 'eager' in forms else {}),
                checkpointing='checkpointed' in forms,
            )
        )
    if 'plain' in forms:
        layers = [module for module in encoder.modules() if type(module) in PLAIN]
        if not layers:
            raise ValueError(f'{text}: a plain form is there of LoRA and ConvLoRA.')
        for layer in layers:
            specialise_in_place(layer, PLAIN[type(layer)])
    return encoder.train()


def _with_lora_of_peft(text: str, cfg: dict, backbone: dict) -> nn.Module:
    form = text.partition(':')[0]
    if cfg.keys() - {'type', 'rank', 'alpha'} or cfg['type'] != 'LoRA':
        raise ValueError(f'{text}: {form} is there of LoRA, with its rank and alpha.')
    method = LoRA(**{key: value for key, value in cfg.items() if key != 'type'})
    with torch.device('meta'):
        ours = MODELS.build(backbone)
        maps = len(ours(torch.zeros(1, 3, *ours.img_size)))
    same = ours.arch, ours.img_size[0], method.rank, method.alpha
    if form == 'timm':
        return TimmSAM(*same)
    attention = 'eager' if 'eager' in form else 'sdpa'
    return HuggingFace(backbone['type'], *same, maps, attention)


def _segment_anything(cfg: dict, arch: str | dict, size: int) -> nn.Module:
    from segment_anything.modeling import ImageEncoderViT  # importable once mmsam_peft is

    sizes = {**COMMON, **(ARCHS[arch] if isinstance(arch, str) else arch)}
    encoder = ImageEncoderViT(
        size,
        out_chans=sizes.pop('out_channels'),
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        **sizes,
    )
    encoder.peft = build_method(cfg)
    apply_peft(encoder, encoder.peft, ['neck'])
    return encoder


def run(encoder: nn.Module, image: Tensor) -> Tensor:
    """A loss of the encoder's output, auxiliary losses included. Of one side of zero: a norm at the
    end keeps the mean square, whose gradients would be so small that products of them are slow."""
    maps = encoder(image)
    maps = maps if isinstance(maps, tuple) else (maps,)
    loss = sum(y.relu().square().mean(dtype=torch.float32) for y in maps)
    return loss + sum(encoder.peft.aux_losses(encoder).values())
