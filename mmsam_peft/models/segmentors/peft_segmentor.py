"""MMSegmentation's encoder-decoder around a fine-tuned SAM encoder."""
import torch
from mmseg.models import EncoderDecoder
from torch import Tensor, nn

from ...adapters.file import ADAPTER
from ...adapters.match import check_adapter
from ...peft import PEFTMethod
from ...registry import MODELS
from ..backbones.checkpoints import read_sam_checkpoint
from ..backbones.frozen_prefix import Encoded
from .finite_outputs import require_finite_outputs


@MODELS.register_module()
class PEFTSegmentor(EncoderDecoder):
    """An ``EncoderDecoder`` that adds the fine-tuning method's auxiliary losses and takes adapter files as checkpoints.

    Args:
        backbone: A ``SAMViT``.
        checkpoint: Path or URL of SAM weights for the encoder and, where file and head have one, SAM's mask decoder. None
            trains from random values.
        kwargs: ``EncoderDecoder``'s: decode_head, data_preprocessor, test_cfg, ...
    """

    def __init__(self, backbone: dict, checkpoint: str | None = None, **kwargs) -> None:
        super().__init__(backbone, **kwargs)
        self.checkpoint, self.base_loaded = checkpoint, checkpoint is None
        self.head_cfg = {key: value for key, value in kwargs['decode_head'].items() if not key.startswith('loss')}
        self.peft_cfg = dict(backbone.get('peft') or dict(type='Full'))

    def init_weights(self) -> None:
        super().init_weights()
        self.load_base()

    def load_base(self) -> None:
        """Loads ``checkpoint`` into encoder and head, once."""
        if not self.base_loaded:
            self.base_loaded = True
            state = read_sam_checkpoint(self.checkpoint)
            self.backbone.load_sam(state, self.checkpoint)
            if hasattr(self.decode_head, 'load_sam'):
                self.decode_head.load_sam(state, self.checkpoint)

    def extract_feat(self, inputs: Tensor | Encoded) -> tuple[Tensor, ...]:
        """The encoder's maps of images, or of what its frozen beginning has made of them already."""
        if not isinstance(inputs, Encoded):
            return super().extract_feat(inputs)
        maps = inputs.prefix.rest(inputs.map)
        return self.neck(maps) if self.with_neck else maps

    def loss(self, inputs: Tensor | Encoded, data_samples: list) -> dict[str, Tensor]:
        losses = super().loss(inputs, data_samples)
        for host, method in self.adapted.values():
            for name, value in method.aux_losses(host).items():
                losses[name] = losses.get(name, 0) + value
        return losses

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits at the size of the inputs; under autocast too in float32, in which they are averaged, resized and compared."""
        return at_least_float32(super().encode_decode(inputs, batch_img_metas))

    def postprocess_result(self, seg_logits: Tensor, data_samples: list | None = None) -> list:
        """Raises NotFiniteError when logits (B, K, H, W) are not finite: they would become background."""
        require_finite_outputs(seg_logits, data_samples, 'logits')
        return super().postprocess_result(seg_logits, data_samples)

    @property
    def adapted(self) -> dict[str, tuple[nn.Module, PEFTMethod]]:
        """What fine-tuning methods went into, by the beginning of its parameters' names: (host, method)."""
        adapted = {}
        if self.backbone.peft:
            adapted['backbone.'] = self.backbone, self.backbone.peft
        if getattr(self.decode_head, 'peft', None):
            adapted['decode_head.transformer.'] = self.decode_head.transformer, self.decode_head.peft
        return adapted

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *args) -> None:
        """Checks what is being loaded into the whole model; MMEngine by itself skips what does not fit.

        Raises:
            ValueError: Nothing matches, shapes differ, or an adapter's header does not belong to this model.
        """
        own = {prefix + key: value for key, value in self.state_dict().items()}
        if ADAPTER in local_metadata:
            self.load_base()
            check_adapter(self, local_metadata[ADAPTER], state_dict)
            for key, value in own.items():
                state_dict.setdefault(key, value)
        wrong = [f'{key} {tuple(state_dict[key].shape)}, the model has {tuple(value.shape)}' for key, value in own.items()
                 if key in state_dict and state_dict[key].shape != value.shape]
        if wrong:
            raise ValueError(f'The checkpoint does not fit the model: {"; ".join(wrong[:3])}'
                             f'{f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""}. Use the config it was trained with.')
        if not own.keys() & state_dict.keys():
            got = ', '.join(list(state_dict)[:3]) or 'no keys'
            raise ValueError(f'Nothing in the checkpoint matches the model: got {got}; expected keys like {next(iter(own))}. '
                             'SAM weights belong in model.checkpoint.')
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
