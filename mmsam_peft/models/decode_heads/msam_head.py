"""mSAM's decoders: one SAM mask decoder per dense task ("Task-Aware Low-Rank Adaptation of Segment
Anything Model", 2024)."""

from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones.checkpoints import load_part
from .hq import OPTIONAL, fitted_token
from .sam_decoder import SIZES, SAMDecoder, exact_position

NO_MASK = 'prompt_encoder.no_mask_embed.weight'


class TaskDecoder(SAMDecoder):
    """The decoder of one task, whose output channels are elements of its batch, all read from mask
    token 0."""

    def __init__(self, *sizes) -> None:
        super().__init__()
        self.build_decoder(*sizes)

    def forward(self, maps: Sequence[Tensor], prompts: Tensor, position: Tensor) -> Tensor:
        """What the encoder returns, the last of it (B, C, h, w), and one dense prompt per channel,
        (K, C), to (B, K, 4h, 4w)."""
        x = maps[-1]
        elements = (x[:, None] + prompts[:, :, None, None]).flatten(
            0, 1
        )  # (B, K, C, h, w) -> (B * K, C, h, w)
        more = dict(fine=self.finer(maps), details=self.details(maps))
        masks = self.decode_map(elements, position, num_masks=1, **more)[1]
        return masks.view(x.shape[0], len(prompts), 4 * x.shape[2], 4 * x.shape[3])


@MODELS.register_module()
class MSAMHead(BaseModule):
    """SAM mask decoders side by side, ``decoders.TASK``, without prompt encoder, for any dense
    task.

    Task t has K_t output channels and as many rows of the trained no-mask embedding, its dense
    prompts: each channel is one decoder batch element through mask token 0. From a SAM checkpoint
    every decoder starts as SAM's and every row as SAM's row, so the channels of a task start
    identical. Decoders have SAM's four mask tokens, which attend to each other, but not its IoU
    head nor the MLPs of tokens 1 to 3, which no output depends on: 552,036 parameters a task less
    than in the paper's program.

    Args:
        channels: K_t by the names of the tasks.
        in_channels: Channels C of the encoder's neck, and the decoders' width.
        depth, num_heads, mlp_dim: The two-way transformers'.
        num_tokens: Mask tokens of each decoder, SAM's 4; the first gives the masks.
        stride: Image pixels per cell and axis of the encoder's last map: SAM's patch size.
        fine: SAM 2's decoders, for an encoder that returns three maps; see ``SAMMaskHead``.
        hq: HQ-SAM's decoders, for an encoder that returns an early map too; see ``SAMMaskHead``.
        break_symmetry: After loading a SAM checkpoint, add noise of the row's own spread to all
            rows of a task but its first.

    Raises:
        ValueError: A task has a name that ``nn.ModuleDict`` has for something else, such as 'type'.
    """

    def __init__(
        self,
        channels: dict[str, int],
        in_channels: int = 256,
        depth: int = 2,
        num_heads: int = 8,
        mlp_dim: int = 2048,
        num_tokens: int = 4,
        stride: int = 16,
        fine: bool = False,
        hq: dict | None = None,
        break_symmetry: bool = False,
    ) -> None:
        super().__init__()
        if taken := [name for name in channels if hasattr(nn.ModuleDict(), name)]:
            raise ValueError(
                f'A task is named {taken[0]!r}, which PyTorch uses itself in the decoders: rename '
                'it.'
            )
        self.channels, self.stride, self.break_symmetry = dict(channels), stride, break_symmetry
        self.decoders = nn.ModuleDict(
            {
                name: TaskDecoder(in_channels, num_tokens, depth, num_heads, mlp_dim, fine, hq)
                for name in channels
            }
        )
        self.no_mask_embed = nn.Embedding(sum(channels.values()), in_channels)
        self.pe_layer = PositionEmbeddingRandom(in_channels // 2)

    def forward(self, features: dict[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        """What the encoder returns, the last of it (B, C, h, w), by task, to outputs (B, K_t, 4h,
        4w) by task."""
        rows = dict(
            zip(
                self.channels,
                self.no_mask_embed.weight.split(list(self.channels.values())),
                strict=True,
            )
        )
        return {
            name: self.decoders[name](maps, rows[name], exact_position(self.pe_layer, maps[-1]))
            for name, maps in features.items()
        }

    def load_sam(self, state: dict[str, Tensor], source: str) -> None:
        """Loads all decoders from a state dict under SAM's keys; a file without a mask decoder
        leaves them as they are. ValueError for a file with a part of one, or one of other sizes."""
        if 'mask_decoder.mask_tokens.weight' not in state:
            print_log(
                f'{source} has no mask decoder: {type(self).__name__} starts from random values.',
                'current',
            )
            return
        state = fitted_token(state, next(iter(self.decoders.values())).hq, source)
        for decoder in self.decoders.values():
            load_part(decoder, state, ('mask_decoder.',), source, optional=OPTIONAL, sizes=SIZES)
        load_part(self.pe_layer, state, ('prompt_encoder.pe_layer.',), source, sizes=SIZES)
        if NO_MASK not in state:
            raise ValueError(
                f'{source} has a mask decoder, but no {NO_MASK}: it is incomplete. Fetch it again '
                'from where it '
                'was published.'
            )
        with torch.no_grad():
            row = state[NO_MASK].to(self.no_mask_embed.weight)
            self.no_mask_embed.weight.copy_(row.expand_as(self.no_mask_embed.weight))
            for rows in self.no_mask_embed.weight.split(list(self.channels.values())):
                if self.break_symmetry:
                    rows[1:] += torch.randn_like(rows[1:]) * row.std()
