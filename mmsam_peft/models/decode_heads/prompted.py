"""SAM's whole mask decoder: clicks, boxes and earlier masks, several masks for one prompt, and how
good it holds them to be."""

from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from ..prompt_encoders import PromptEncoder, Prompts
from . import few_tokens
from .sam_decoder import SAMDecoder, exact_position

NUM_MASKS = 4
"""SAM's mask tokens: the first for an unambiguous prompt, and for none; three for an ambiguous
one."""
IOU_WIDTH = 256
MASK_TOKENS = 'mask_tokens.weight'
ENCODED = ('point_embeddings.', 'not_a_point_embed.', 'mask_downscaling.')
"""Of SAM's prompt encoder, what is not in a head without prompts."""
ONLY_PROMPTS = (
    'prompt_encoder.',
    'iou_prediction_head.',
    'pred_obj_score_head.',
    *(f'output_hypernetworks_mlps.{i}.' for i in range(1, NUM_MASKS)),
)
"""Beginnings of what a head without prompts does not have."""
STABILITY_DELTA, LEAST_STABILITY = 0.05, 0.98
"""SAM 2's: a mask is stable if so much of it stays when the threshold of the logits moves."""


class PromptedDecoder(SAMDecoder):
    """What a head with prompts has beside one without: SAM's prompt encoder, its mask tokens and
    hypernetwork MLPs 1 to 3, and its IoU head, under SAM's names.

    Without a prompt only token 0 takes part, so that the answer is, number for number, that of a
    head without prompts of the same weights.
    """

    has_prompts = False
    answering: 'PromptedDecoder | None'
    """The base's decoder, where that answers to prompts in place of this one."""

    def build_prompts(self, dim: int, train_encoder: bool = False) -> None:
        """``train_encoder``: train SAM's prompt encoder, which stays frozen by default; it may then
        begin with base weights that know no prompts."""
        self.has_prompts, self.num_tokens, self.train_encoder = True, 1, train_encoder
        self.mask_tokens = nn.Embedding(NUM_MASKS, dim)
        self.output_hypernetworks_mlps.extend(
            MLP(dim, dim, dim // 8, 3) for _ in range(NUM_MASKS - 1)
        )
        self.iou_prediction_head = MLP(dim, IOU_WIDTH, NUM_MASKS, 3, sigmoid_output=self.fine)
        self.prompt_encoder = PromptEncoder(dim, self.fine).requires_grad_(train_encoder)
        if self.fine:
            self.pred_obj_score_head = MLP(dim, dim, 1, 3).requires_grad_(False)
        self.base_prompts: dict[str, Tensor] = {}

    def prompted(
        self, maps: tuple[Tensor, ...], prompts: Prompts, multimask: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The masks of N objects.

        For a single mask SAM 2 takes, except in training, the best of three where its own is not
        stable.

        Args:
            maps: What the encoder returns for the B images of the batch.
            prompts: Of the N objects.
            multimask: Three masks for each, for prompts that may mean several things, such as a
                single click; else one.

        Returns:
            Mask logits (N, M, 4h, 4w) and the IoU (N, M) that each is held to have, M being 3 or 1.

        Raises:
            ValueError: The head has no prompts; an object of an image that the batch has not; masks
                of another size than 4h x 4w.
        """
        return self.answers(maps, prompts, multimask)[:2]

    def answers(
        self, maps: tuple[Tensor, ...], prompts: Prompts, multimask: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """``prompted``'s masks and IoU; and of SAM 2 the logits (N, 1) of whether there is an
        object, None of others."""
        if self.answering is not None:
            return self.answering.answers(maps, prompts, multimask)
        x = self._transform_inputs(maps)
        self.require_fit(x, prompts)
        size = tuple(self.stride * side for side in x.shape[2:])
        sparse, dense = self.prompt_encoder(prompts, self.pe_layer, size)
        if dense is None:
            dense = self.no_mask_embed.weight[..., None, None]
        fine = self.finer(maps)
        if len(x) > 1 or prompts.masks is not None or fine:  # else all objects share one map
            x = x[prompts.image]
        return self.decode_prompted(
            x + dense,
            exact_position(self.pe_layer, x),
            sparse,
            multimask,
            fine and [one[prompts.image] for one in fine],
            None if self.hq is None else self.details(maps)[prompts.image],
        )

    def decode_prompted(
        self,
        x: Tensor,
        position: Tensor,
        sparse: Tensor,
        multimask: bool | None,
        fine: Sequence[Tensor] | None = None,
        details: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """From maps (N or 1, C, h, w) with their dense prompts, and tokens (N, T, C), to masks (N,
        M, 4h, 4w), their IoU (N, M) and SAM 2's object logits (N, 1). ``multimask=None``: of
        all four tokens. ``fine`` and ``details``: of the N objects, as ``finer`` and
        ``details`` give them."""
        fast = fine is None and details is None and few_tokens.fits(self.transformer, x)
        if fast:
            own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
            tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], 1)
            cells = x.flatten(2).mT.contiguous(), position.flatten(1).mT.contiguous()
            tokens, cells = few_tokens.two_way(self.transformer, *cells, tokens)
        else:
            x = x.expand(len(sparse), -1, -1, -1)
            tokens, upscaled = self.attend(x, position, self.mask_tokens.weight, sparse, fine)
        score = self.pred_obj_score_head(tokens[:, 0]) if self.fine else None
        tokens = tokens[:, self.before_iou :]
        doubtful = self.fine and multimask is False and not self.training
        every = doubtful or multimask is None
        chosen = list(
            range(NUM_MASKS) if every else range(multimask, NUM_MASKS if multimask else 1)
        )
        weights = torch.stack(
            [self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in chosen], 1
        )
        iou = self.iou_prediction_head(tokens[:, 0])[:, chosen]
        if fast:
            size = tuple(x.shape[2:])
            return few_tokens.upscaled_masks(self.output_upscaling, cells, weights, size), iou, None
        masks = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        if self.hq is not None:
            masks = self.hq.masks(masks, tokens[:, 1 + NUM_MASKS :], upscaled, details)
        return *(stable_or_best(masks, iou) if doubtful else (masks, iou)), score

    def require_fit(self, x: Tensor, prompts: Prompts) -> None:
        """Whether prompts belong to this head and to the maps x (B, C, h, w)."""
        if not self.has_prompts:
            raise ValueError(
                f'This {type(self).__name__} answers without prompts only. Set '
                'model.decode_head.prompts=True, and the weights of a SAM with its prompt encoder '
                'as model.checkpoint.'
            )
        if len(prompts) and not 0 <= prompts.image.min() <= prompts.image.max() < len(x):
            raise ValueError(
                f'Prompts.image: got {prompts.image.min()} to {prompts.image.max()}, but the batch '
                f'has the images 0 to {len(x) - 1}.'
            )
        expected = tuple(4 * side for side in x.shape[2:])
        if prompts.masks is not None and prompts.masks.shape[2:] != expected:
            raise ValueError(
                f'Prompts.masks: got {tuple(prompts.masks.shape[2:])} logits, expected '
                f'{expected}, a quarter of the padded input by side: give the logits of an earlier '
                'answer for the same image size.'
            )

    @property
    def prompt_names(self) -> set[str]:
        """The head's tensors that one without prompts does not have."""
        if not self.has_prompts or self.answering is not None:
            return set()
        return {name for name in self.state_dict() if name.startswith(ONLY_PROMPTS)}

    def prompt_keys(self, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
        """A state dict under SAM's keys, in which the parts of the prompt encoder have the head's
        names. ValueError when it holds a decoder that knows no prompts."""
        together = 'prompt_encoder.point_embeddings.weight'
        if together in state:  # Hugging Face's SAM 2
            rows = state[together].split(1)
            state = {**state, **{f'{together[:-6]}{i}.weight': row for i, row in enumerate(rows)}}
        encoded = tuple(f'prompt_encoder.{part}' for part in ENCODED)
        state = {
            f'mask_decoder.{key}' if key.startswith(encoded) else key: value
            for key, value in state.items()
            if key != together
        }
        found = {key.removeprefix('mask_decoder.') for key in state}
        missing = sorted(self.prompt_names - found)
        if missing and self.train_encoder and not self.prompt_names & found:
            print_log(
                f'{source} knows no prompts: what answers to them starts from random values.',
                'current',
            )
            own = self.state_dict()
            tokens = own[MASK_TOKENS].to(state[f'mask_decoder.{MASK_TOKENS}'])
            tokens[:1] = state[f'mask_decoder.{MASK_TOKENS}'][:1]
            new = {f'mask_decoder.{name}': own[name] for name in missing}
            return {**state, **new, f'mask_decoder.{MASK_TOKENS}': tokens}
        if missing:
            raise ValueError(
                f'{source} has a mask decoder, but lacks {len(missing)} of the tensors that '
                f'prompts need, such as {missing[0]}. Use the weights of a whole SAM, or '
                'model.decode_head.prompts=None.'
            )
        return state

    def keep_base_prompts(self) -> None:
        """Remembers the prompts' weights as they are now, to complete files without."""
        names = {MASK_TOKENS, *self.prompt_names}
        self.base_prompts = {
            name: value.detach().cpu().clone()
            for name, value in self.state_dict().items()
            if name in names
        }

    def complete(self, state: dict, prefix: str) -> None:
        """Adds what a head trained without prompts lacks to its state dict: the base weights' own;
        or takes out what one that was trained with them has, where the base's decoder answers.

        ValueError when the base weights had no prompts either.
        """
        token = state.get(f'{prefix}{MASK_TOKENS}')
        if not self.has_prompts or not isinstance(token, Tensor):
            return
        if self.answering is not None and len(token) == NUM_MASKS:
            for name in [name for name in state if is_only_prompts(name, prefix)]:
                del state[name]
            state[f'{prefix}{MASK_TOKENS}'] = token[:1].clone()
        if self.answering is not None or len(token) != 1:
            return
        if not self.base_prompts:
            raise ValueError(
                'The weights were trained without prompts, which this model has, and it has not '
                'loaded base weights with a prompt encoder from which they would come. Set '
                'model.checkpoint to those of a whole SAM, or model.decode_head.prompts=None.'
            )
        for name in self.prompt_names:
            state[prefix + name] = self.base_prompts[name].clone()
        others = self.base_prompts[MASK_TOKENS][1:].to(token)
        state[f'{prefix}{MASK_TOKENS}'] = torch.cat([token, others])


def is_only_prompts(name: str, prefix: str) -> bool:
    """Whether a tensor of the head at ``prefix`` is one that only prompts need."""
    return name.startswith(prefix) and name.removeprefix(prefix).startswith(ONLY_PROMPTS)


def stable_or_best(masks: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """Of SAM 2's four masks (N, 4, h, w) the first, if it hardly changes with the threshold, else
    the best of the others by their IoU (N, 4): (N, 1, h, w) and (N, 1)."""
    inside, around = ((masks[:, 0] > sign * STABILITY_DELTA).sum((1, 2)) for sign in (1, -1))
    stable = (inside >= LEAST_STABILITY * around) | (around == 0)
    best = torch.where(stable, 0, 1 + iou[:, 1:].argmax(1))
    rows = torch.arange(len(masks), device=masks.device)
    return masks[rows, best][:, None], iou[rows, best][:, None]
