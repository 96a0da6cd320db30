"""SAM's mask decoder without prompts, as an MMSegmentation decode head: binary, or multi-class by
mask classification."""

import logging
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import DiceLoss, TverskyLoss
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from ...peft import apply_peft, build_method
from ...peft.frozen import Frozen
from ...registry import MODELS
from ..backbones.checkpoints import load_part
from ..losses import semantic_logits
from .hq import OPTIONAL, fitted_token
from .prompt_training import PromptLoss
from .prompted import PromptedDecoder
from .sam_decoder import SIZES, exact_position, to_image


@MODELS.register_module()
class SAMMaskHead(PromptedDecoder, BaseDecodeHead):
    """SAM's mask decoder driven by the dense no-mask embedding alone: no sparse tokens, no IoU
    head, whole batches at once.

    Parameters carry SAM's names, so that SAM checkpoints load into them. The no-mask embedding and
    the random positional encoding stay frozen.

    Binary (``num_queries=None``): one mask token and one hypernetwork MLP, 1 logit channel,
    ``threshold`` on its sigmoid.

    Multi-class (``num_queries=N``): N mask tokens share the hypernetwork MLP; a linear layer
    classifies each of them into ``num_classes`` and 'no object'; training by set prediction
    (Conv-LoRA, section 3.3). Its output is log sum_q softmax(class_q) * sigmoid(mask_q), (B,
    num_classes, h, w). From a SAM checkpoint the queries start as SAM's token 0 plus noise of its
    own spread; the reference program starts them identical, and identical queries get identical
    gradients.

    Args:
        num_classes: Background included.
        num_queries: None for binary (then ``num_classes`` must be 2), or N of at least
            ``num_classes``.
        in_channels: Channels of the encoder's neck, and the decoder's width.
        depth, num_heads, mlp_dim: The two-way transformer's.
        stride: Image pixels per cell and axis of the encoder's last map: SAM's patch size.
        fine: SAM 2's decoder, for an encoder that returns three maps: the two finer ones are added
            as the masks are scaled up, and there is a token of whether there is an object.
        hq: HQ-SAM's part, for an encoder that returns an early map too: ``channels`` of that map,
            and ``token_only``; see ``HighQuality``. With several queries each has a high-quality
            token, which starts as HQ-SAM's plus noise, as the mask tokens do.
        peft: Config of a fine-tuning method for the two-way transformer, whose own weights then
            stay SAM's; the tokens, up-scaling, hypernetwork and class head go on being trained.
            None trains the whole decoder.
        prompts: True, or a dict of ``build_prompts``'s arguments, adds what answers to clicks,
            boxes and masks, see :meth:`prompted`; binary heads only. The answer without a prompt
            stays the same. 'base': prompts are answered by a decoder of their own, ``answering``,
            which is the base weights' and stays so.
        loss_prompts: ``PromptLoss``'s arguments: train the answers to prompts too. None leaves what
            only they use as it is.
        loss_decode: Binary: any of MMSegmentation's or our binary losses, or a list; multi-class:
            ``SetPredictionLoss``, which is told ``num_classes``.

    Raises:
        ValueError: ``num_classes`` and ``num_queries`` do not fit, or the loss cannot use a single
            channel; prompts for a multi-class head.
    """

    def __init__(
        self,
        num_classes: int = 2,
        num_queries: int | None = None,
        in_channels: int = 256,
        depth: int = 2,
        num_heads: int = 8,
        mlp_dim: int = 2048,
        stride: int = 16,
        fine: bool = False,
        hq: dict | None = None,
        threshold: float = 0.5,
        peft: dict | None = None,
        prompts: bool | dict | str | None = None,
        loss_prompts: dict | None = None,
        loss_decode: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        binary, prompts = num_queries is None, None if prompts is False else prompts
        if binary and num_classes != 2:
            raise ValueError(
                f'num_classes={num_classes} needs num_queries=N (at least {num_classes}): without '
                'queries the '
                'head is binary and has 2 classes.'
            )
        if not binary and num_queries < num_classes:
            raise ValueError(
                f'num_queries={num_queries} is below num_classes={num_classes}: an image may show '
                'every class.'
            )
        if prompts is not None and not binary:
            raise ValueError(
                f'prompts={prompts!r} with num_queries={num_queries}: a prompt means one object, '
                'and the queries of a multi-class head mean classes. Use num_queries=None and two '
                'classes, or prompts=None.'
            )
        if loss_prompts is not None and prompts is None:
            raise ValueError(
                f'loss_prompts={loss_prompts!r} trains answers to prompts, which a head with '
                'prompts=None does not give: set prompts=True, or the setting prompts at the top '
                'of the config, which sets both.'
            )
        if binary:
            loss_decode = loss_decode or dict(type='mmsam_peft.StructureLoss')
        else:
            loss_decode = dict(
                loss_decode or dict(type='mmsam_peft.SetPredictionLoss'), num_classes=num_classes
            )
        super().__init__(
            in_channels,
            in_channels,
            num_classes=num_classes,
            out_channels=1 if binary else num_classes,
            threshold=threshold,
            dropout_ratio=0,
            loss_decode=loss_decode,
            init_cfg=None,
            **kwargs,
        )
        del self.conv_seg
        unfit = [
            type(loss).__name__ for loss in self.losses if isinstance(loss, (DiceLoss, TverskyLoss))
        ]
        if unfit:
            raise ValueError(
                f'{unfit[0]} of MMSegmentation compares a single channel with the background: use '
                'DiceBCELoss, '
                'StructureLoss or BalancedBCELoss, or CrossEntropyLoss with use_sigmoid=True.'
            )
        self.num_queries, self.stride = num_queries, stride
        dim = in_channels
        hq = hq and {'num_tokens': num_queries or 1, **hq}
        self.build_decoder(dim, num_queries or 1, depth, num_heads, mlp_dim, fine, hq)
        self.class_head = None if binary else nn.Linear(dim, num_classes + 1)
        self.no_mask_embed = nn.Embedding(1, dim).requires_grad_(False)
        self.pe_layer = PositionEmbeddingRandom(dim // 2)
        self.answering = None
        if prompts is not None:
            sizes = dict(depth=depth, num_heads=num_heads, mlp_dim=mlp_dim, stride=stride)
            self.add_prompts(prompts, dim, hq=hq, **sizes, **kwargs)
        self.prompt_loss = None if loss_prompts is None else PromptLoss(**loss_prompts)
        if self.prompt_loss is not None and self.prompt_loss.keep and self.answering is None:
            raise ValueError(
                f'loss_prompts.keep={self.prompt_loss.keep} holds answers to those of the base, '
                "which needs its decoder: set decode_head.prompts='base', as prompts.keep at "
                'the top of the config does.'
            )
        if self.prompt_loss is None:  # parallel training waits for every gradient
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(parameter.requires_grad and name not in self.prompt_names)
        self.peft = build_method(peft) if peft else None
        if self.peft:
            apply_peft(self.transformer, self.peft)

    def add_prompts(self, prompts: bool | dict | str, dim: int, **sizes) -> None:
        """``prompts``, and the arguments of a head like this one."""
        if prompts != 'base':
            self.build_prompts(dim, **({} if prompts is True else prompts))
            return
        self.has_prompts = True
        self.answering = SAMMaskHead(in_channels=dim, fine=self.fine, prompts=True, **sizes)
        self.answering.requires_grad_(False).peft = Frozen()

    peft_host = 'transformer'
    """The part of the head that ``peft`` adapts."""

    @property
    def losses(self) -> list[nn.Module]:
        return (
            list(self.loss_decode)
            if isinstance(self.loss_decode, nn.ModuleList)
            else [self.loss_decode]
        )

    def decode(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What the encoder returns, of which ``in_index``, (B, C, h, w), is taken, to mask tokens
        (B, N, C) and mask logits (B, N, 4h, 4w)."""
        x = self._transform_inputs(maps)
        return self.decode_map(
            x + self.no_mask_embed.weight[..., None, None],
            exact_position(self.pe_layer, x),
            fine=self.finer(maps),
            details=self.details(maps),
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """What the encoder returns to logits (B, 1 or num_classes, 4h, 4w)."""
        tokens, masks = self.decode(inputs)
        return masks if self.class_head is None else semantic_logits(self.class_head(tokens), masks)

    def loss(
        self, inputs: tuple[Tensor, ...], batch_data_samples: list, train_cfg: dict
    ) -> dict[str, Tensor]:
        """The losses at label size (binary) or on sampled points (multi-class), by name."""
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)  # (B, H, W)
        tokens, masks = self.decode(inputs)
        if self.class_head is not None:
            padded = tuple(side * self.stride // 4 for side in masks.shape[2:])
            if padded != labels.shape[1:]:  # the points are relative: the padding must be gone
                masks = to_image(masks, labels.shape[1:], self.stride)
            return self.loss_decode(
                self.class_head(tokens), masks, labels, ignore_index=self.ignore_index
            )
        masks = to_image(masks, labels.shape[1:], self.stride)
        losses: dict[str, Tensor] = {}
        for loss in self.losses:
            value = loss(masks, labels, ignore_index=self.ignore_index)
            losses[loss.loss_name] = losses.get(loss.loss_name, 0) + value
        if self.prompt_loss is not None:
            return self.prompt_loss(self, inputs, batch_data_samples, labels, losses)
        return losses

    def predict(
        self, inputs: tuple[Tensor, ...], batch_img_metas: list[dict], test_cfg: dict
    ) -> Tensor:
        """Logits at the size of the network's input, (B, 1 or num_classes, H, W)."""
        meta = batch_img_metas[0]
        in_window = isinstance(
            meta['img_shape'], torch.Size
        )  # MMSegmentation's mark of sliding-window inference
        size = meta['img_shape'] if in_window else meta.get('pad_shape', meta['img_shape'])[:2]
        tokens, masks = self.decode(inputs)
        masks = to_image(masks, size, self.stride)
        return masks if self.class_head is None else semantic_logits(self.class_head(tokens), masks)

    def load_sam(self, state: dict[str, Tensor], source: str) -> None:
        """Loads the decoder from a state dict under SAM's keys; a file without a mask decoder
        leaves it as it was, which is a ValueError where ``peft`` would freeze it. So is a file with
        a part of one, or one of other sizes."""
        key = 'mask_decoder.mask_tokens.weight'
        if key not in state:
            if self.peft:
                raise ValueError(
                    f'{source} has no mask decoder, and decode_head.peft would freeze one of '
                    'random values: use '
                    'a checkpoint with a decoder, or train it by decode_head.peft=None.'
                )
            if self.answering is not None:
                raise ValueError(
                    f'{source} has no mask decoder, and prompts are to be answered by that of the '
                    'base: use the weights of a whole SAM, or set prompts.keep=0.'
                )
            print_log(
                f'{source} has no mask decoder: {type(self).__name__} starts from random values.',
                'current',
            )
            return
        if 'mask_decoder.conv_s0.weight' in state and not self.fine:
            print_log(
                f"{source} has a decoder that reads finer maps, as SAM 2's does, and this head has "
                'no place for them: set decode_head.fine=True to decode as it does.',
                'current',
                level=logging.WARNING,
            )
        state = fitted_token(state, self.hq, source)
        knows_prompts = 'mask_decoder.iou_prediction_head.layers.0.weight' in state
        if self.answering is not None:
            self.answering.load_sam(state, source)
        elif self.has_prompts:
            state = self.prompt_keys(state, source)
        own, found = self.mask_tokens.weight, state[key]
        if found.shape[1:] == own.shape[1:] and len(found) != len(own):
            first = found[:1].to(own)
            noise = torch.randn_like(own) * first.std() if self.num_queries else 0
            state = {**state, key: first + noise}
        added = {'class_head.weight', 'class_head.bias'}
        if self.peft:
            added |= {f'{self.peft_host}.{name}' for name in self.peft.added}
        prefixes = 'mask_decoder.', 'prompt_encoder.'
        added |= {name for name in self.state_dict() if name.startswith('answering.')}
        load_part(self, state, prefixes, source, added, OPTIONAL, sizes=SIZES)
        if self.has_prompts and knows_prompts and self.answering is None:
            self.keep_base_prompts()
