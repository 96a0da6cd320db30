"""Vision transformers of Hugging Face's ``transformers`` as encoders: DINOv2 (Oquab et al., 2023),
DINOv3 (Siméoni et al., 2025), and plain ones (Dosovitskiy et al., 2021), such as DINO's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from ...hub import SCHEME
from ...layers.token_layout import TokenLayout
from ...peft import Anatomy, BlockParts
from ...registry import MODELS
from .encoder import Encoder
from .hf_keys import HUGGING_FACE
from .variants import VARIANTS, Variant, address_of


@dataclass(frozen=True)
class Family:
    """How a model of ``transformers`` is made of its parts.

    Attributes:
        classes: What the names of its classes begin with.
        layers: Where its blocks are.
        norm: What follows them.
        sizes: The settings of its config that an arch may have, with their defaults.
        fixed: Other settings of its config.
        made: Arguments of its constructor.
        embedded: Arguments of the call of its embeddings.
        rotary: Whether its blocks get rotary positions.
    """

    classes: str
    layers: str
    norm: str
    sizes: Mapping
    fixed: Mapping = field(default_factory=dict)
    made: Mapping = field(default_factory=dict)
    embedded: Mapping = field(default_factory=dict)
    rotary: bool = False


COMMON = dict(
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    hidden_act='gelu',
    layer_norm_eps=1e-6,
)
DINOV2 = dict(**COMMON, patch_size=14, image_size=518, mlp_ratio=4, qkv_bias=True)
FAMILIES = dict(
    dinov2=Family('Dinov2', 'encoder.layer', 'layernorm', DINOV2),
    dinov2_with_registers=Family(
        'Dinov2WithRegisters', 'encoder.layer', 'layernorm', dict(DINOV2, num_register_tokens=4)
    ),
    dinov3_vit=Family(
        'DINOv3ViT',
        'model.layer',
        'norm',
        dict(
            COMMON,
            intermediate_size=3072,
            layer_norm_eps=1e-5,
            patch_size=16,
            num_register_tokens=4,
            rope_theta=100.0,
            query_bias=True,
            key_bias=False,
            value_bias=True,
            use_gated_mlp=False,
        ),
        # of its pretraining: positions that change by chance would make every step another encoder
        fixed=dict(pos_embed_shift=None, pos_embed_jitter=None, pos_embed_rescale=None),
        rotary=True,
    ),
    vit=Family(
        'ViT',
        'layers',
        'layernorm',
        dict(
            COMMON,
            intermediate_size=3072,
            layer_norm_eps=1e-12,
            patch_size=16,
            image_size=224,
            qkv_bias=True,
        ),
        made=dict(add_pooling_layer=False),
        embedded=dict(interpolate_pos_encoding=True),
    ),
)
SMALL = dict(hidden_size=384, num_attention_heads=6)
LARGE = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16)
ARCHS = dict(
    dinov2_small=dict(model_type='dinov2', **SMALL),
    dinov2_base=dict(model_type='dinov2'),
    dinov2_large=dict(model_type='dinov2', **LARGE),
    dinov3_vits16=dict(model_type='dinov3_vit', **SMALL, intermediate_size=1536),
    dinov3_vitb16=dict(model_type='dinov3_vit'),
    dinov3_vitl16=dict(model_type='dinov3_vit', **LARGE, intermediate_size=4096),
)
VARIANTS.update(
    {
        f'dinov2_{size}': Variant(
            f'DINOv2 ViT-{size[0].upper()}/14',
            dict(type='HFViT', arch=f'dinov2_{size}'),
            f'{SCHEME}facebook/dinov2-{size}',
            image_size=518,
            least=518,
            patch=14,
            head=dict(stride=14),
        )
        for size in ('small', 'base', 'large')
    }
)
VARIANTS.update(
    {
        f'dinov3_vit{size}16': Variant(
            f'DINOv3 ViT-{size.upper()}/16',
            dict(type='HFViT', arch=f'dinov3_vit{size}16'),
            f'{SCHEME}facebook/dinov3-vit{size}16-pretrain-lvd1689m',
            licence='DINOv3 License',
            gated=True,
            image_size=768,
        )
        for size in 'sbl'
    }
)
OUT = 256
"""Channels of the neck where an arch does not say it: SAM's."""
ROLES = dict(
    q=('q_proj',),
    k=('k_proj',),
    v=('v_proj',),
    proj=('o_proj',),
    lin1=('fc1', 'up_proj', 'gate_proj'),
    lin2=('fc2', 'down_proj'),
)
"""What the blocks' linear layers are called, by their roles."""


class LayerBlock(nn.Module):
    """A layer of ``transformers`` on tokens (B, N, C), which reads in ``layout`` what else it needs
    to know of the image."""

    def __init__(self, layer: nn.Module, layout: TokenLayout, checkpointing: bool) -> None:
        super().__init__()
        self.layer, self.layout, self.checkpointing = layer, layout, checkpointing

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """The tokens after the block. ``extra`` ones, (1 or B, P, C), are seen by the attention,
        have no position, as class tokens have none, and are not returned."""
        if extra is None:
            return self.run(x)
        return self.forward_both(x, extra)[0]

    def forward_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        count = extra.shape[1]
        both = self.run(torch.cat([extra.expand(x.shape[0], -1, -1), x], 1))
        return both[:, count:], both[:, :count]

    def run(self, x: Tensor) -> Tensor:
        size, further = self.layout.size, self.layout.further

        def transform(x: Tensor) -> Tensor:
            # computed again in the backward pass, after another image perhaps
            self.layout.size, self.layout.further = size, further
            return self.layer(x, **further)

        if self.checkpointing and torch.is_grad_enabled():
            return recomputed(transform, x, use_reentrant=False)
        return transform(x)


@MODELS.register_module()
class HFViT(Encoder):
    """A vision transformer of ``transformers`` (``pip install 'mmsam_peft[hf]'``) with a neck like
    SAM's, which no file has: every method trains it.

    It works on tokens, class and register tokens included; methods that want maps see those of the
    patches. Sides that are no multiple of the patch size are zero-padded at the bottom and right.
    Positions are those of ``transformers``: tables are resized to the image, rotary ones computed.

    Args:
        arch: A name of ``ARCHS``, or a dict with model_type, of ``FAMILIES``, and sizes in the
            words of its config; out_channels are the neck's, 256.
        img_size: The (H, W) of the images, as adapter files record it; any size works.
        peft: Config of the fine-tuning method; None leaves every parameter trainable.
        unfreeze: Names, or beginnings of names, of parameters trained beside the method's.
        out_indices: Blocks whose maps are returned, each after the final norm, instead of the
            neck's output.
        checkpointing: Keep only the blocks' inputs for the backward pass and compute the rest
            again: less memory, more time.
        checkpoint: A folder, file or address (``hf://facebook/dinov2-small``) of weights, loaded by
            ``init_weights``; 'published' stands for the address of the arch's own.
        base_dtype: How the weights of the frozen linear layers are stored: 'float32', 'bfloat16',
            'int8' or 'nf4'; see docs/speed.md.

    Raises:
        ImportError: ``transformers`` is not installed, or is an earlier release than the tests use.
        ValueError: Unknown arch or out_indices; an ``unfreeze`` name or PEFT target that matches
            nothing.
    """

    keys = HUGGING_FACE
    optional = ('neck',)

    def __init__(
        self,
        arch: str | dict = 'dinov3_vits16',
        img_size: int | Sequence[int] = 512,
        peft: dict | None = None,
        unfreeze: Sequence[str] = (),
        out_indices: Sequence[int] | None = None,
        checkpointing: bool = False,
        checkpoint: str | None = None,
        base_dtype: str = 'float32',
    ) -> None:
        checkpoint = address_of(checkpoint, dict(type='HFViT', arch=arch))
        super().__init__(sizes_of(arch), img_size, checkpoint=checkpoint)
        self.family, self.out_indices = FAMILIES[self.arch['model_type']], out_indices
        depth, self.patch_size = self.arch['num_hidden_layers'], self.arch['patch_size']
        if out_indices is not None and not all(0 <= i < depth for i in out_indices):
            raise ValueError(
                f'out_indices={tuple(out_indices)}: the encoder has blocks 0 to {depth - 1}.'
            )
        model, self.layout = build_model(self.arch), TokenLayout()
        self.embeddings, self.norm = model.embeddings, model.get_submodule(self.family.norm)
        self.embeddings.mask_token = None  # of the pretraining: nothing here would train it
        self.rotary = model.rope_embeddings if self.family.rotary else None
        layers = model.get_submodule(self.family.layers)
        self.blocks = nn.ModuleList(
            LayerBlock(layer, self.layout, checkpointing)
            for layer in layers[: None if out_indices is None else max(out_indices) + 1]
        )
        dim, out = self.arch['hidden_size'], self.arch['out_channels']
        self.neck = None
        if out_indices is None:
            self.neck = nn.Sequential(
                nn.Conv2d(dim, out, 1, bias=False),
                LayerNorm2d(out),
                nn.Conv2d(out, out, 3, padding=1, bias=False),
                LayerNorm2d(out),
            )
        unfreeze = (unfreeze,) if isinstance(unfreeze, str) else tuple(unfreeze)
        self.adapt(peft, unfreeze if self.neck is None else (*unfreeze, 'neck.'), False, base_dtype)

    @property
    def depth(self) -> int:
        return self.arch['num_hidden_layers']

    @property
    def anatomy(self) -> Anatomy:
        patches = self.embeddings.patch_embeddings
        return Anatomy(
            self.blocks,
            parts_of(self.blocks[0]),
            before=('embeddings.',),
            norms=(nn.LayerNorm, LayerNorm2d),
            can={'maps', 'tokens'},
            patches=patches if isinstance(patches, nn.Conv2d) else patches.projection,
            outputs=self.out_indices,
            layout=self.layout,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), normalised, to the neck's map (B, 256, H / patch, W / patch), or to
        one map (B, C, ..) per out_index."""
        x = F.pad(x, (0, -x.shape[-1] % self.patch_size, 0, -x.shape[-2] % self.patch_size))
        height, width = x.shape[-2:]
        layout = self.layout
        layout.size = height // self.patch_size, width // self.patch_size
        layout.further = dict(position_embeddings=self.rotary(x)) if self.rotary else {}
        tokens, maps = self.embeddings(x, **self.family.embedded), []
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            if i in self.outputs:
                maps.append(layout.to_map(self.norm(tokens)).permute(0, 3, 1, 2).contiguous())
        return tuple(maps) if self.neck is None else (self.neck(maps[-1]),)

    @property
    def outputs(self) -> Sequence[int]:
        return (len(self.blocks) - 1,) if self.out_indices is None else self.out_indices


def sizes_of(arch: str | dict) -> dict:
    """All sizes of an arch. ValueError for an unknown name, model_type or size."""
    if isinstance(arch, str) and arch not in ARCHS:
        raise ValueError(
            f'arch={arch!r} is unknown: use one of {", ".join(ARCHS)}, or a dict with model_type '
            'and sizes.'
        )
    given = dict(ARCHS[arch] if isinstance(arch, str) else arch)
    family = FAMILIES.get(given.get('model_type'))
    if family is None:
        raise ValueError(
            f'arch={given}: as a dict it needs model_type, one of {", ".join(FAMILIES)}.'
        )
    known = dict(model_type=None, out_channels=OUT, **family.sizes)
    if unknown := given.keys() - known.keys():
        raise ValueError(
            f'arch has {", ".join(sorted(unknown))}: a {given["model_type"]} has '
            f'{", ".join(known)}.'
        )
    return {**known, **given}


def build_model(arch: dict) -> nn.Module:
    """The model of ``transformers`` of these sizes, with random values. ImportError without it."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "HFViT needs Hugging Face's transformers: pip install 'mmsam_peft[hf]', or "
            "pip install -e '.[hf]' in a copy of the project."
        ) from error
    family = FAMILIES[arch['model_type']]
    config = getattr(transformers, f'{family.classes}Config')(
        **{name: arch[name] for name in family.sizes}, **family.fixed
    )
    return getattr(transformers, f'{family.classes}Model')(config, **family.made)


def parts_of(block: LayerBlock) -> BlockParts:
    """Where the linear layers of a block are, found by their names. ImportError for the names of
    earlier releases."""
    paths = [path for path, layer in block.named_modules() if isinstance(layer, nn.Linear)]
    found = {
        role: [path for path in paths if path.rpartition('.')[2] in names]
        for role, names in ROLES.items()
    }
    if not all(found.values()):
        raise ImportError(
            f'{type(block.layer).__name__} of this release of transformers has the linear layers '
            f'{", ".join(paths)}, which are not known here: pip install --upgrade transformers.'
        )
    return BlockParts(linears=found, mlp='layer.mlp')
