"""HQ-SAM's part of the mask decoder (Ke et al., "Segment Anything in High Quality", NeurIPS
2023)."""

from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

TOKEN = 'hq.hf_token.weight'
OPTIONAL = ('hq.',)
"""Beginnings of a decoder's names that a file may lack."""


class HighQuality(nn.Module):
    """A token beside SAM's mask tokens whose mask is read from a map with more detail. With x the
    encoder's output, v its map after the first global block, u the decoder's up-scaled map and t
    the token after the two-way transformer,

        f    = embedding_encoder(x) + compress_vit_feat(v)
        mask = hf_mlp(t) (embedding_maskfeature(u) + f)

    x: (B, C, h, w); v: (B, channels, h, w); f, u: (B, C / 8, 4h, 4w). The mask is added to SAM's
    own, or takes its place where ``token_only``. Names are HQ-SAM's.

    Args:
        dim: C.
        channels: Those of v.
        num_tokens: HQ-SAM's 1; a head with several queries has one for each.
        token_only: HQ-SAM's ``hq_token_only``.
    """

    def __init__(
        self, dim: int, channels: int, num_tokens: int = 1, token_only: bool = False
    ) -> None:
        super().__init__()
        self.token_only = token_only
        self.hf_token = nn.Embedding(num_tokens, dim)
        self.hf_mlp = MLP(dim, dim, dim // 8, 3)
        self.compress_vit_feat = nn.Sequential(
            nn.ConvTranspose2d(channels, dim, 2, stride=2),
            LayerNorm2d(dim),
            nn.GELU(),
            nn.ConvTranspose2d(dim, dim // 8, 2, stride=2),
        )
        self.embedding_encoder = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
        )
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(dim // 8, dim // 4, 3, padding=1),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim // 8, 3, padding=1),
        )

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        """f, of what the encoder returns: v first, x last.

        Raises:
            ValueError: The encoder does not return v.
        """
        channels = self.compress_vit_feat[0].in_channels
        if len(maps) < 2 or maps[0].shape[1] != channels:
            raise ValueError(
                "decode_head.hq reads the map after the encoder's first global block, of "
                f'{channels} channels, but the encoder returns maps of '
                f'{", ".join(str(x.shape[1]) for x in maps)}: set backbone.early=True and '
                "decode_head.hq.channels to the encoder's width, or decode_head.hq=None."
            )
        return self.embedding_encoder(maps[-1]) + self.compress_vit_feat(maps[0])

    def masks(self, masks: Tensor, tokens: Tensor, upscaled: Tensor, features: Tensor) -> Tensor:
        """SAM's masks (B, M, 4h, 4w) made better.

        Args:
            tokens: After the transformer, (B, .., C), the high-quality ones first: one, or M.
            upscaled: u, (B, C / 8, 4h, 4w).
            features: f, (B / n, C / 8, 4h, 4w), each for n in a row.
        """
        detail = self.embedding_maskfeature(upscaled).unflatten(0, (features.shape[0], -1))
        detail = (detail + features[:, None]).flatten(0, 1)
        tokens = tokens[:, : self.hf_token.num_embeddings]
        own = (self.hf_mlp(tokens) @ detail.flatten(2)).unflatten(2, detail.shape[2:])
        return own.expand_as(masks) if self.token_only else masks + own


def fitted_token(state: dict[str, Tensor], hq: HighQuality | None, source: str) -> dict:
    """A state dict under our names whose high-quality token a head can load: the file's, with noise
    of its own spread where there are several. Says what is left out of either."""
    key, found = f'mask_decoder.{TOKEN}', any(name.startswith('mask_decoder.hq.') for name in state)
    if hq is None and found:
        print_log(
            f"{source} is of HQ-SAM: its encoder and decoder are SAM's, its high-quality token and "
            "what belongs to it are left out. encoder='hq_sam_vit_b', or another of its sizes, "
            'reads them too.',
            'current',
        )
    if hq is not None and not found:
        print_log(
            f'{source} has no high-quality token: decode_head.hq starts from random values, on '
            "SAM's weights, as HQ-SAM's own training did.",
            'current',
        )
    if hq is None or key not in state:
        return state
    own, first = hq.hf_token.weight, state[key]
    if len(own) == len(first) or own.shape[1:] != first.shape[1:]:
        return state
    return {**state, key: first.to(own) + torch.randn_like(own) * first.std().to(own)}
