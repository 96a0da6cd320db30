"""MMSegmentation's encoder-decoder around a fine-tuned SAM encoder."""

import copy
import logging
from collections.abc import Mapping
from types import MappingProxyType

import torch
from mmengine.logging import print_log
from mmseg.models import EncoderDecoder
from torch import Tensor, nn

from ...adapters.apart import without_base
from ...adapters.file import carried_header
from ...adapters.header import parse_header
from ...adapters.match import (
    ANSWERING,
    OtherBaseError,
    adapter_names,
    check_loaded,
    hashes_of_file,
    is_rounded,
    trained_names,
)
from ...adapters.positions import TABLES
from ...datasets.pixels import Pixels
from ...layers.storage import shape
from ...peft import PEFTMethod
from ...peft.base_dtype import packed_later
from ...registry import MODELS
from ...safe_load import is_at_hand
from ..backbones.checkpoints import read_sam_checkpoint
from ..backbones.frozen_prefix import Encoded
from ..backbones.variants import VARIANTS, address_of, variant_of
from ..decode_heads.keeping import keep_loss
from .base_encoder import BaseEncoder
from .finite_outputs import require_finite_outputs

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@MODELS.register_module()
class PEFTSegmentor(EncoderDecoder):
    """An ``EncoderDecoder`` that adds the fine-tuning method's auxiliary losses and accepts adapter
    files as checkpoints.

    Args:
        backbone: An encoder with an anatomy: ``SAMViT``, or one as docs/add_an_encoder.md adds.
        checkpoint: Path or URL of weights for the encoder, as its ``read_weights`` reads them, and,
            where file and head have one, the mask decoder. 'published': those that their authors
            publish for the encoder. None trains from random values.
        pixels: What of the image files the model sees, see :class:`Pixels`; a config's own
            ``pixels`` gets here by itself. Adapter files name it, and belong to no other.
        kwargs: ``EncoderDecoder``'s: decode_head, data_preprocessor, test_cfg, ...

    Raises:
        ValueError: 'published' weights of an encoder that has none; an encoder of another number of
            channels than ``pixels`` makes.
    """

    recorded_base: Mapping[tuple[str, ...], str] = MappingProxyType({})
    """The hashes of the base weights in their file, where they are stored in fewer bits, by the
    prefixes of the adapted parts."""

    def __init__(
        self,
        backbone: dict,
        checkpoint: str | None = None,
        pixels: dict | None = None,
        **kwargs,
    ) -> None:
        given = {} if pixels is None else dict(pixels=pixels)
        made_of = copy.deepcopy(dict(backbone=backbone, **given, **kwargs))
        super().__init__(backbone, **kwargs)
        self.made_of = made_of
        self.pixels = Pixels.of(pixels)
        channels = getattr(self.backbone, 'in_channels', 3)
        if pixels is not None and channels != self.pixels.channels:
            raise ValueError(
                f'pixels makes images of {self.pixels.channels} channels, but the encoder takes '
                f'{channels}: set backbone.in_channels={self.pixels.channels}, as pixels at the '
                'top of the config does.'
            )
        self.checkpoint = address_of(checkpoint, backbone, kwargs['decode_head'])
        self.variant = VARIANTS.get(variant_of(backbone, kwargs['decode_head']))
        self.base_loaded = checkpoint is None
        self.base_encoder: BaseEncoder | None = None
        self.head_cfg = {
            key: value for key, value in kwargs['decode_head'].items() if not key.startswith('loss')
        }
        self.peft_cfg = dict(backbone.get('peft') or dict(type='Full'))

    def init_weights(self) -> None:
        with packed_later(self.backbone):
            super().init_weights()
        frozen = {
            f'backbone.{name}' for name, _ in self.backbone.named_parameters()
        } - trained_names(self)
        if frozen and not self.checkpoint and not self.backbone.checkpoint:
            print_log(
                f'{self.peft_cfg["type"]} freezes {len(frozen)} tensors of the encoder, and '
                'without model.checkpoint '
                'they are random: set it to SAM weights, or train from scratch with peft type '
                'Full.',
                'current',
                level=logging.WARNING,
            )
        self.load_base()
        if self.keeps:
            self.base_encoder = BaseEncoder(self)

    def load_base(self) -> None:
        """Loads ``checkpoint`` into encoder and head, once. OtherBaseError when it holds something
        else."""
        if self.base_loaded:
            return
        self.base_loaded = True
        try:
            read = getattr(self.backbone, 'read_weights', read_sam_checkpoint)
            state = read(self.checkpoint)
            self.backbone.load_sam(state, self.checkpoint)
            if hasattr(self.decode_head, 'load_sam'):
                self.decode_head.load_sam(state, self.checkpoint)
            self.record_base(state, {'backbone.': 'image_encoder.'})
        except ValueError as error:
            raise OtherBaseError(str(error)) from error

    def record_base(self, state: dict[str, Tensor], names: dict[str, str]) -> None:
        """Keeps the hashes of base weights that were loaded, where the encoder rounds them."""
        if is_rounded(self):
            self.recorded_base = hashes_of_file(self, state, names)

    def extract_feat(self, inputs: Tensor | Encoded) -> tuple[Tensor, ...]:
        """The encoder's maps of images, or of what its frozen beginning has made of them
        already."""
        if not isinstance(inputs, Encoded):
            return super().extract_feat(inputs)
        maps = inputs.prefix.finish(inputs.map)
        return self.neck(maps) if self.with_neck else maps

    def loss(self, inputs: Tensor | Encoded, data_samples: list) -> dict[str, Tensor]:
        maps = self.extract_feat(inputs)
        losses = self._decode_head_forward_train(maps, data_samples)
        if self.with_auxiliary_head:
            losses.update(self._auxiliary_head_forward_train(maps, data_samples))
        if self.keeps:
            losses['loss_keep'] = self._keep_loss(inputs, maps, data_samples)
        for host, method in self.adapted.values():
            for name, value in method.aux_losses(host).items():
                losses[name] = losses.get(name, 0) + value
        return losses

    @property
    def keeps(self) -> float:
        """How much it counts in training that prompts are answered as the base answers them."""
        return getattr(getattr(self.decode_head, 'prompt_loss', None), 'keep', 0)

    def _keep_loss(
        self, inputs: Tensor | Encoded, maps: tuple[Tensor, ...], samples: list
    ) -> Tensor:
        if self.base_encoder is None:
            raise ValueError(
                'prompts.keep needs the base model, which init_weights() sets up: call it before '
                'training, as MMEngine does.'
            )
        return self.keeps * keep_loss(self.decode_head, maps, self.base_encoder(inputs), samples)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits at the size of the inputs; under autocast too in float32, in which they are
        averaged, resized and compared."""
        return at_least_float32(super().encode_decode(inputs, batch_img_metas))

    def postprocess_result(self, seg_logits: Tensor, data_samples: list | None = None) -> list:
        """Raises NotFiniteError when logits (B, K, H, W) are not finite: they would become
        background."""
        require_finite_outputs(seg_logits, data_samples, 'logits')
        return super().postprocess_result(seg_logits, data_samples)

    @property
    def adapted(self) -> dict[str, tuple[nn.Module, PEFTMethod]]:
        """What fine-tuning methods went into, by the beginning of its parameters' names: (host,
        method)."""
        adapted = {}
        for part in ('backbone', 'decode_head'):
            module = getattr(self, part)
            if getattr(module, 'peft', None):
                path = f'{part}.{module.peft_host}' if hasattr(module, 'peft_host') else part
                adapted[f'{path}.'] = self.get_submodule(path), module.peft
        answering = getattr(self.decode_head, 'answering', None)
        if answering is not None:  # frozen, as the encoder's base is
            adapted[ANSWERING] = answering, answering.peft
        return adapted

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args
    ) -> None:
        """Checks what is being loaded into the whole model; MMEngine by itself skips what does not
        fit.

        The header of an adapter, or of a ``.pth``, comes in the metadata. MMEngine,
        MMSegmentation's ``init_model`` and its inferencer build a model, open a file and call this
        method, with nothing of ours between: so it is here that an adapter is completed by its
        base, even where that starts a download. (torch's public pre-hook would be the place, but
        torch 2.4 has none.) ``state_dict`` is the caller's copy and may be changed.

        Raises:
            ValueError: Nothing matches; tensors are missing, of another shape or no floating-point
                numbers; a header does not belong to this model.
        """
        own = self._own(prefix)
        carried = carried_header(local_metadata)
        if carried:
            if not carried['whole'] or (self.checkpoint and is_at_hand(str(self.checkpoint))):
                self.load_base()
            self._complete(state_dict, prefix)
            state = {
                key.removeprefix(prefix): value
                for key, value in state_dict.items()
                if key.startswith(prefix)
            }
            at_hand = self.checkpoint is not None and self.base_loaded
            check_loaded(self, carried, state, at_hand)
            self._settle_base(state_dict, prefix, carried, at_hand)
            own = self._own(prefix)  # as loaded
            for key, value in own.items():
                state_dict.setdefault(key, value)
        elif not own.keys() & state_dict.keys():
            got = ', '.join(list(state_dict)[:3]) or 'no keys'
            raise ValueError(
                f'Nothing in the checkpoint matches the model: got {got}; expected keys like '
                f'{next(iter(own))}. '
                'SAM weights belong in model.checkpoint.'
            )
        else:
            self._complete(state_dict, prefix)
            if all(f'{prefix}{key}' in state_dict for key in self._frozen()):
                self.record_base(state_dict, {'backbone.': f'{prefix}backbone.'})
        self._check_tensors(own, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _settle_base(self, state_dict: dict, prefix: str, carried: dict, at_hand: bool) -> None:
        """Base weights that a ``.pth`` holds rounded never replace those at hand; without such,
        its header knows the hash of what they were."""
        kept = parse_header(carried['header'], carried['path'])
        if carried['whole'] and (kept.get('base_dtype') or is_rounded(self)):
            if not at_hand:
                self.recorded_base = {tuple(self.adapted): kept['base']}
            for name in self._frozen() if at_hand else ():
                state_dict.pop(prefix + name, None)

    def _own(self, prefix: str) -> dict[str, Tensor]:
        """The state dict, weights as they are stored."""
        return {prefix + key: value for key, value in self.state_dict(keep_vars=True).items()}

    def _frozen(self) -> set[str]:
        """What of the state dict is in the file of base weights."""
        state = self.state_dict(keep_vars=True)
        return state.keys() - without_base(self, state, TABLES).keys()

    def _complete(self, state_dict: dict, prefix: str) -> None:
        """What was trained without prompts gets the base weights' own, where the head has them."""
        if hasattr(self.decode_head, 'complete'):
            self.decode_head.complete(state_dict, f'{prefix}decode_head.')

    def _check_tensors(self, own: dict[str, Tensor], state: dict, prefix: str) -> None:
        """Whether a state dict has all that the model needs, in its shapes; MMEngine by itself
        skips what does not fit."""
        wrong = [
            f'{key} {_kind(state[key])}, the model has {_kind(value)}'
            for key, value in own.items()
            if key in state and not _fits(state[key], value)
        ]
        if wrong:
            raise ValueError(
                f'The checkpoint does not fit the model: {"; ".join(wrong[:3])}'
                f'{f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""}. Use the config it was '
                'trained with.'
            )
        needed = {key for key in own if not key.startswith(f'{prefix}weighting.')}
        if self.checkpoint and self.base_loaded:  # what is frozen is there already
            needed &= {prefix + name for name in adapter_names(self)}
        if missing := sorted(needed - state.keys()):
            raise ValueError(
                f"The checkpoint lacks {len(missing)} of the model's tensors, such as "
                f'{", ".join(missing[:3])}, which would stay at random values. Use the config it '
                'was trained '
                'with; base weights belong in model.checkpoint.'
            )


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    packed = shape(value) != value.shape
    kind = 'float32' if packed else str(value.dtype).removeprefix('torch.')
    return f'{tuple(shape(value))} {kind}'


def _fits(value: object, own: Tensor) -> bool:
    """Whether a tensor can become ``own``: of its shape, floating-point numbers of 16 bits or more
    for such, else its dtype."""
    if value is own:
        return True
    if not isinstance(value, Tensor) or value.shape != shape(own):
        return False
    numbers = own.is_floating_point() or shape(own) != own.shape
    return value.dtype in FLOATS if numbers else value.dtype == own.dtype


def at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
