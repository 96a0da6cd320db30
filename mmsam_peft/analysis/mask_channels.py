"""SAM's three masks of a point beside the output channels of a multi-task model: what a mask token
meant before, and what the channels mean after fine-tuning."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from segment_anything.modeling.mask_decoder import MaskDecoder
from segment_anything.modeling.prompt_encoder import PromptEncoder
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import Tensor, nn

from ..apis.inference import pipeline_of
from ..models.backbones import SAMViT
from ..models.backbones.checkpoints import guess_arch, load_part, read_sam_checkpoint
from ..models.backbones.sam_vit import ARCHS
from ..models.decode_heads.sam_decoder import to_image
from ..visualization.classes import look_of, overlay
from ..visualization.images import resized
from ..visualization.sheet import sheet
from .encoders import MEAN, STD

SIDE, MOST = 150, 8
"""Pixels of a picture's longer side; channels of a task that are shown."""
PATCH = 16


class Sam(nn.Module):
    """SAM with its prompt encoder and its whole mask decoder."""

    def __init__(
        self, state: dict[str, Tensor], source: str, arch: str | dict | None = None
    ) -> None:
        """
        Args:
            state: Weights under SAM's keys.
            arch: Of the encoder, where its width and depth are none of SAM's.

        Raises:
            ValueError: An encoder of another size; a part is missing.
        """
        super().__init__()
        known = {(sizes['embed_dim'], sizes['depth']): name for name, sizes in ARCHS.items()}
        arch = arch or known.get(guess_arch(state))
        prompts = 'prompt_encoder.no_mask_embed.weight'
        if arch is None or prompts not in state:
            raise ValueError(
                f'{source} is not all of SAM: expected its encoder, prompt encoder and mask '
                'decoder, as in sam_vit_b_01ec64.pth.'
            )
        grid = tuple(state['image_encoder.pos_embed'].shape[1:3])
        size, width = tuple(side * PATCH for side in grid), state[prompts].shape[1]
        self.side = size[0]
        hidden = state['mask_decoder.transformer.layers.0.mlp.lin1.weight'].shape[0]
        judges = state['mask_decoder.iou_prediction_head.layers.0.weight'].shape[0]
        small = state['prompt_encoder.mask_downscaling.3.weight'].shape[0]
        self.encoder = SAMViT(arch, img_size=size)
        self.prompts = PromptEncoder(width, grid, size, small)
        self.decoder = MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(2, width, 8, hidden),
            num_multimask_outputs=3,
            iou_head_hidden_dim=judges,
        )
        self.encoder.load_sam(state, source)
        load_part(self.prompts, state, ('prompt_encoder.',), source)
        load_part(self.decoder, state, ('mask_decoder.',), source)

    @torch.no_grad()
    def masks(self, image: np.ndarray, point: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Logits (3, H, W) of the three masks of a point (x, y), and SAM's estimates of their IoU,
        (3,)."""
        H, W = image.shape[:2]
        scale = self.side / max(H, W)
        inner = round(H * scale), round(W * scale)
        x = (resized(image, inner) - np.float32(MEAN)) / np.float32(STD)
        x = torch.from_numpy(x).permute(2, 0, 1)[None].float()
        x = F.pad(x, (0, self.side - inner[1], 0, self.side - inner[0]))
        at = torch.tensor([[[point[0] * scale, point[1] * scale]]])
        sparse, dense = self.prompts((at, torch.ones(1, 1)), None, None)
        masks, scores = self.decoder(
            self.encoder(x)[0], self.prompts.get_dense_pe(), sparse, dense, multimask_output=True
        )
        masks = F.interpolate(masks, (self.side, self.side), mode='bilinear', align_corners=False)
        masks = F.interpolate(
            masks[..., : inner[0], : inner[1]], (H, W), mode='bilinear', align_corners=False
        )
        return masks[0], scores[0]


def read_sam(path: str) -> Sam:
    """All of SAM from a file. ValueError where it is not."""
    return Sam(read_sam_checkpoint(path), path).eval()


@torch.no_grad()
def channels_of(model: nn.Module, path: str | Path) -> dict[str, np.ndarray]:
    """The outputs (K, h, w) of a multi-task model by task, at the size of the network's input.

    Raises:
        ValueError: The model has no tasks.
    """
    if not hasattr(model, 'tasks'):
        raise ValueError(
            f'{type(model).__name__} has one task: expected a MultiTaskSegmentor, whose channels '
            'have meanings of their own.'
        )
    packed = pipeline_of(model)(dict(img_path=str(path)))
    batch = {key: [value] for key, value in packed.items()}
    batch = model.data_preprocessor(batch, False)
    inputs, (height, width) = batch['inputs'], batch['data_samples'][0].img_shape[:2]
    outputs = model.outputs(inputs, list(model.tasks))
    return {
        name: to_image(x, inputs.shape[2:], model.decode_head.stride)[0, :, :height, :width]
        .float()
        .cpu()
        .numpy()
        for name, x in outputs.items()
    }


def channel_sheet(
    image: np.ndarray,
    channels: Mapping[str, np.ndarray],
    point: tuple[float, float] | None = None,
    masks: Tensor | None = None,
    scores: Tensor | None = None,
) -> np.ndarray:
    """A picture, RGB, uint8: the image, with SAM's masks of the point in the first row; in a row
    for each task its channels, dark to light from the 1st to the 99th percentile.

    Args:
        image: RGB, uint8 (H, W, 3).
        channels: (K, h, w) by task.
        point: (x, y) in the image.
        masks, scores: SAM's logits (3, H, W) and estimates (3,); None: no first row of SAM.
    """
    size = tuple(max(1, round(side * SIDE / max(image.shape[:2]))) for side in image.shape[:2])
    small = resized(image, size)
    rows = [[('image', small)]]
    if masks is not None:
        look = look_of(('background', 'mask'), [[0, 0, 0], [255, 64, 48]])
        rows[0][0] = ('image and point', dotted(small, point, image.shape))
        for number, (mask, score) in enumerate(zip(masks, scores, strict=True), start=1):
            seen = resized((mask > 0).numpy().astype(np.uint8) * 255, size) > 127
            drawn = overlay(small, seen.astype(np.uint8), look)
            rows[0].append((f'SAM, mask {number}: {score:.2f}', drawn))
    for task, maps in channels.items():
        row = [(f'{task}, channel {i}', heat(one, size)) for i, one in enumerate(maps[:MOST])]
        rows.append(row)
    left = {task: len(maps) - MOST for task, maps in channels.items() if len(maps) > MOST}
    more = ''.join(f'; {number} more of {task}' for task, number in left.items())
    title = "SAM's masks and the channels of the tasks" if masks is not None else 'Channels'
    return sheet(title + more, rows)


def heat(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) in colours."""
    low, high = np.percentile(values, (1, 99))
    scaled = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    return resized((255 * colormaps['viridis'](scaled)[..., :3]).astype(np.uint8), size)


def dotted(picture: np.ndarray, point: tuple[float, float], shape: tuple) -> np.ndarray:
    """The picture of an image of ``shape`` with its point."""
    H, W = picture.shape[:2]
    x, y = point[0] * W / shape[1], point[1] * H / shape[0]
    rows, columns = np.indices((H, W))
    distance = np.hypot(rows + 0.5 - y, columns + 0.5 - x)
    picture = np.where((distance < 6)[..., None], 255, picture)
    return np.where((distance < 4)[..., None], (220, 30, 30), picture).astype(np.uint8)
