"""Encoders of ``transformers`` with LoRA of ``peft``, as candidates to benchmark beside ours."""

from collections.abc import Callable

from torch import Tensor, nn

from ..peft import PEFTMethod

TARGETS = dict(SAMViT='qkv', Hiera='qkv', SAM3ViT=r'.*attention\.[qkv]_proj')


class HuggingFace(nn.Module):
    """An encoder of ``transformers`` with LoRA in its queries, keys and values; the neck is
    trained, and all other weights are frozen.

    Args:
        kind: The name of our class for the encoder.
        sizes: Its arch, as ours has it.
        size: Side of the images.
        rank, alpha: LoRA's.
        maps: How many maps it returns, the finest of those that it has.
        attention: 'sdpa', PyTorch's kernels, or 'eager', with the attention matrix in memory.

    Raises:
        ValueError: ``transformers`` has no such encoder, or not in these sizes.
    """

    def __init__(
        self,
        kind: str,
        sizes: dict,
        size: int,
        rank: int,
        alpha: float,
        maps: int,
        attention: str = 'sdpa',
    ) -> None:
        super().__init__()
        if kind not in BUILDERS:
            raise ValueError(f'hf: expected an encoder of {", ".join(BUILDERS)}, got {kind}.')
        model = BUILDERS[kind](sizes, size)
        model.set_attn_implementation(attention)
        self.model, self.maps = with_lora(model, _pattern(kind), rank, alpha), maps
        self.peft = PEFTMethod()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.model(images)
        maps = getattr(found, 'fpn_hidden_states', None) or (found.last_hidden_state,)
        return tuple(maps[: self.maps])


def with_lora(model: nn.Module, target: str | list[str], rank: int, alpha: float) -> nn.Module:
    """The model with LoRA of ``peft``, and its neck trained."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=target))
    for name, parameter in model.named_parameters():
        if '.neck.' in name:
            parameter.requires_grad_()
    return model


def _pattern(kind: str) -> str | list[str]:
    target = TARGETS[kind]
    return target if '.' in target else [target]


def _sam(sizes: dict, size: int) -> nn.Module:
    from transformers import SamVisionConfig
    from transformers.models.sam.modeling_sam import SamVisionModel

    config = SamVisionConfig(
        hidden_size=sizes['embed_dim'],
        num_hidden_layers=sizes['depth'],
        num_attention_heads=sizes['num_heads'],
        global_attn_indexes=list(sizes['global_attn_indexes']),
        window_size=sizes['window_size'],
        patch_size=sizes['patch_size'],
        mlp_dim=int(sizes['embed_dim'] * sizes['mlp_ratio']),
        output_channels=sizes['out_channels'],
        num_pos_feats=sizes['out_channels'] // 2,
        image_size=size,
        initializer_range=0.02,  # with its own, 1e-10, gradients are denormal, and slow
    )
    return SamVisionModel(config)


def _sam2(sizes: dict, size: int) -> nn.Module:
    from transformers import Sam2HieraDetConfig, Sam2VisionConfig, Sam2VisionModel

    times = [2**stage for stage in range(len(sizes['stages']))]
    widths = [sizes['embed_dim'] * factor for factor in times]
    trunk = Sam2HieraDetConfig(
        hidden_size=sizes['embed_dim'],
        blocks_per_stage=list(sizes['stages']),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[sizes['num_heads'] * factor for factor in times],
        window_size_per_stage=list(sizes['windows']),
        global_attention_blocks=list(sizes['global_attn_indexes']),
        window_positional_embedding_background_size=[sizes['background']] * 2,
        mlp_ratio=float(sizes['mlp_ratio']),
    )
    config = Sam2VisionConfig(
        backbone_config=trunk,
        backbone_channel_list=widths[::-1],
        fpn_hidden_size=sizes['out_channels'],
    )
    return Sam2VisionModel(config)


def _sam3(sizes: dict, size: int) -> nn.Module:
    from transformers import Sam3VisionConfig, Sam3VisionModel

    trunk = dict(
        model_type='sam3_vit_model',
        hidden_size=sizes['embed_dim'],
        intermediate_size=int(sizes['embed_dim'] * sizes['mlp_ratio']),
        num_hidden_layers=sizes['depth'],
        num_attention_heads=sizes['num_heads'],
        global_attn_indexes=list(sizes['global_attn_indexes']),
        window_size=sizes['window_size'],
        patch_size=sizes['patch_size'],
        pretrain_image_size=sizes['learnt_size'] * sizes['patch_size'],
        image_size=size,
    )
    scales = sorted(map(float, sizes['scales']), reverse=True)
    config = Sam3VisionConfig(
        backbone_config=trunk, fpn_hidden_size=sizes['out_channels'], scale_factors=scales
    )
    return Sam3VisionModel(config)


BUILDERS: dict[str, Callable[[dict, int], nn.Module]] = dict(
    SAMViT=_sam, Hiera=_sam2, SAM3ViT=_sam3
)
