"""Merged weights as a folder of Hugging Face's ``transformers``: ``SamModel`` or ``Sam2Model``."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...adapters.positions import is_table
from ...models.backbones import Hiera, SAMViT
from ...models.backbones.hiera_keys import HUGGING_FACE as SAM2_RULES
from ...models.backbones.keys import apply
from ...models.backbones.sam_keys import HUGGING_FACE as SAM_RULES
from ...models.segmentors import PEFTSegmentor
from ..merging import TOLERANCE, fits_sam_decoder, merged_parameters
from .geometry import geometry_of

POINTS = 'prompt_encoder.point_embed.weight'
HIDDEN = 'mask_decoder.iou_prediction_head.layers.0.weight'
CHANNELS = 'prompt_encoder.mask_downscaling.3.weight'
RESAMPLE = dict(nearest=0, lanczos=1, bilinear=2, bicubic=3, area=4)
"""Pillow's numbers."""


def require_hugging_face(model: PEFTSegmentor) -> None:
    """Raises ValueError where ``transformers`` has no place for something in the model."""
    backbone, head = model.backbone, model.decode_head
    kind, known = type(backbone), {SAMViT: 'SamModel', Hiera: 'Sam2Model'}
    missing = None
    if kind not in known:
        missing = f'the encoder {kind.__name__}, of those that are written'
    elif getattr(backbone, 'early', False) or getattr(backbone, 'out_indices', None):
        missing = 'maps of earlier blocks'
    elif getattr(backbone, 'in_channels', 3) != 3:
        missing = f'images of {backbone.in_channels} channels'
    elif not fits_sam_decoder(model):
        classes = getattr(head, 'num_queries', None)
        missing = f'a {type(head).__name__}' + (f' of {classes} queries' if classes else '')
    elif head.hq is not None:
        missing = "HQ-SAM's part of the mask decoder"
    elif backbone.img_size[0] != backbone.img_size[1] or backbone.img_size[0] % 32:
        missing = 'images of {} x {} pixels: squares of multiples of 32 alone'.format(
            *backbone.img_size
        )
    elif geometry_of(model).windows:
        missing = 'sliding windows'
    if missing:
        raise ValueError(
            f"Hugging Face's {known.get(kind, 'SAM')} has no place for {missing}. Export the model "
            'by tools/deployment/export.py.'
        )


def hugging_face_model(model: PEFTSegmentor, merged: dict[str, Tensor]) -> nn.Module:
    """The model of ``transformers`` with these weights.

    Args:
        model: Whose sizes it gets, image size included.
        merged: As ``merged_sam_state`` gives them.

    Raises:
        ImportError: transformers is not installed.
        ValueError: See :func:`require_hugging_face`; the base weights lack a part of SAM.
    """
    require_hugging_face(model)
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "For a folder of Hugging Face's, transformers has to be installed: "
            "pip install -e '.[hf]'."
        ) from error
    own = model.backbone.keys.own(merged)
    own |= _tables(model)
    if missing := [name for name in (HIDDEN, CHANNELS) if name not in own]:
        raise ValueError(
            f'The base weights {model.checkpoint} have no {missing[0].partition(".")[0]} of a '
            "whole SAM, which Hugging Face's model consists of: use a base that has one."
        )
    second = isinstance(model.backbone, Hiera)
    config = (_sam2_config if second else _sam_config)(transformers, model, own)
    with torch.device('meta'):
        made = (transformers.Sam2Model if second else transformers.SamModel)(config)
    rules = SAM2_RULES if second else SAM_RULES
    state = {}
    for key, value in made.state_dict().items():
        if key == POINTS:
            rows = [f'prompt_encoder.point_embeddings.{n}.weight' for n in range(len(value))]
            state[key] = torch.cat([own[row] for row in rows])
        else:
            state[key] = own[apply(rules, key)].clone()
    made.load_state_dict(state, assign=True)
    return made.float().eval()


def _tables(model: PEFTSegmentor) -> dict[str, Tensor]:
    """Positions at the model's own image size; files of SAM have them at SAM's."""
    state = {**model.state_dict(), **merged_parameters(model)}
    names = [
        name
        for name, _ in model.named_parameters()
        if name.startswith('backbone.') and is_table(name)
    ]
    return model.backbone.keys.own({name: state[name].cpu() for name in names})


def _parts(library: Any, prefix: str, model: PEFTSegmentor, own: dict[str, Tensor]) -> dict:
    head, width = model.decode_head, model.backbone.arch['out_channels']
    two_way = head.transformer
    block = two_way.layers[0]
    return dict(
        prompt_encoder_config=getattr(library, f'{prefix}PromptEncoderConfig')(
            hidden_size=width,
            image_size=model.backbone.img_size[0],
            patch_size=head.stride,
            mask_input_channels=len(own[CHANNELS]),
        ),
        mask_decoder_config=getattr(library, f'{prefix}MaskDecoderConfig')(
            hidden_size=width,
            mlp_dim=block.mlp.lin1.out_features,
            num_hidden_layers=len(two_way.layers),
            num_attention_heads=block.self_attn.num_heads,
            iou_head_hidden_dim=len(own[HIDDEN]),
        ),
    )


def _sam_config(library: Any, model: PEFTSegmentor, own: dict[str, Tensor]) -> Any:
    arch = model.backbone.arch
    vision = library.SamVisionConfig(
        hidden_size=arch['embed_dim'],
        output_channels=arch['out_channels'],
        num_hidden_layers=arch['depth'],
        num_attention_heads=arch['num_heads'],
        image_size=model.backbone.img_size[0],
        patch_size=arch['patch_size'],
        window_size=arch['window_size'],
        global_attn_indexes=list(arch['global_attn_indexes']),
        mlp_dim=int(arch['embed_dim'] * arch['mlp_ratio']),
        num_pos_feats=arch['out_channels'] // 2,
    )
    return library.SamConfig(vision_config=vision, **_parts(library, 'Sam', model, own))


def _sam2_config(library: Any, model: PEFTSegmentor, own: dict[str, Tensor]) -> Any:
    arch, side = model.backbone.arch, model.backbone.img_size[0]
    stages = range(len(arch['stages']))
    widths = [arch['embed_dim'] * 2**stage for stage in stages]
    trunk = library.Sam2HieraDetConfig(
        hidden_size=arch['embed_dim'],
        num_attention_heads=arch['num_heads'],
        image_size=[side, side],
        window_positional_embedding_background_size=[arch['background']] * 2,
        num_query_pool_stages=len(stages) - 1,
        blocks_per_stage=list(arch['stages']),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[arch['num_heads'] * 2**stage for stage in stages],
        window_size_per_stage=list(arch['windows']),
        global_attention_blocks=list(arch['global_attn_indexes']),
        mlp_ratio=float(arch['mlp_ratio']),
    )
    vision = library.Sam2VisionConfig(
        backbone_config=trunk,
        backbone_channel_list=widths[::-1],
        fpn_hidden_size=arch['out_channels'],
        backbone_feature_sizes=[[side // stride] * 2 for stride in (4, 8, 16)],
    )
    return library.Sam2Config(vision_config=vision, **_parts(library, 'Sam2', model, own))


@torch.no_grad()
def difference(made: nn.Module, model: PEFTSegmentor) -> float:
    """|theirs - ours| / |ours| of the maps of a random image, the largest. ValueError above
    ``TOLERANCE``, or when it is NaN."""
    size = model.backbone.img_size
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    theirs = made.get_image_embeddings(image)
    theirs = [theirs] if isinstance(theirs, Tensor) else theirs
    ours = list(model.backbone(image))
    if len(ours) == 3:  # theirs are as the mask decoder adds them
        ours[:2] = made.mask_decoder.conv_s0(ours[0]), made.mask_decoder.conv_s1(ours[1])
    pairs = zip(theirs, ours, strict=True)
    found = torch.stack([(one - its).norm() / its.norm() for one, its in pairs]).max().item()
    if not found <= TOLERANCE:
        raise ValueError(
            f"Hugging Face's model differs from the adapted one by {found:.1e} of its output, more "
            f'than {TOLERANCE:.0e}: it was not written.'
        )
    return found


def image_processor(model: PEFTSegmentor) -> dict:
    """preprocessor_config.json: SAM's processor keeps an image's proportions and pads it, SAM 2's
    stretches it."""
    second, side = isinstance(model.backbone, Hiera), model.backbone.img_size[0]
    one, low = model.data_preprocessor, side // 4
    square, low_square = dict(height=side, width=side), dict(height=low, width=low)
    if second:
        sizes = dict(size=square, mask_size=low_square)
    else:
        sizes = dict(
            size=dict(longest_edge=side),
            mask_size=dict(longest_edge=low),
            do_pad=True,
            pad_size=square,
            mask_pad_size=low_square,
        )
    return dict(
        image_processor_type='Sam2ImageProcessor' if second else 'SamImageProcessor',
        processor_class='Sam2Processor' if second else 'SamProcessor',
        do_convert_rgb=True,
        do_resize=True,
        resample=RESAMPLE[geometry_of(model).interpolation],
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[float(value) / 255 for value in one.mean.flatten()],
        image_std=[float(value) / 255 for value in one.std.flatten()],
        **sizes,
    )


def write_hugging_face(
    model: PEFTSegmentor, merged: dict[str, Tensor], out: str | os.PathLike
) -> float:
    """Writes the folder ``out``: config.json, model.safetensors, preprocessor_config.json,
    completely or not at all. Returns the :func:`difference`.

    Raises:
        FileExistsError: There is something already.
        ImportError, ValueError: See :func:`hugging_face_model` and :func:`difference`.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} is there already: give the name of a new folder.')
    made = hugging_face_model(model, merged)
    found = difference(made, model)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f'{out.name}.unfinished-', dir=out.parent))
    try:
        made.save_pretrained(unfinished)
        text = json.dumps(image_processor(model), indent=2)
        (unfinished / 'preprocessor_config.json').write_text(f'{text}\n')
        for path in unfinished.iterdir():
            path.chmod(0o644)  # safetensors keeps its files to their owner
        unfinished.chmod(0o755)  # and so are temporary folders
        os.replace(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return found
