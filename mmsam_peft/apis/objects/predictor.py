"""Clicks and boxes: one image embedding, and a mask for each prompt.

The interface is that of segment-anything's ``SamPredictor`` (Kirillov et al., "Segment Anything",
2023), so that programs made for it run with a tuned model.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmseg.models import BaseSegmentor
from torch import Tensor

from ...finite import NotFiniteError
from ...models.prompt_encoders import Prompts
from ..inference import pipeline_of
from .coordinates import Size, ToInput, checked_boxes, checked_points

Picture = str | os.PathLike | np.ndarray
NO_IMAGE = 'No image is set: call set_image(path or array) first.'


class Embedding(NamedTuple):
    """What the encoder made of an image: its maps, the (H, W) of the image, and the (H, W) of the
    network's input without padding."""

    maps: tuple[Tensor, ...]
    original_size: Size
    input_size: Size


class Predictor:
    """Answers prompts about one image after the other.

        predictor = Predictor(init_model('adapter.safetensors'))
        predictor.set_image('image.jpg')
        masks, scores, logits = predictor.predict([[500, 375]], [1])

    Coordinates are x and y in pixels of the image as it is seen, upright, from its top left corner.
    The image is read and resized as the model's test pipeline does, which is how it was trained.

    Args:
        model: A model whose head has prompts, as ``init_model`` gives it; or several by name, such
            as an ``AdapterBank``.
        adapter: With several, the one to begin with; by default the first.

    Raises:
        ValueError: The model has no prompts, or predicts by sliding windows.
        KeyError: No model of this name.
    """

    mask_threshold = 0.0
    """Logits above it belong to the object."""

    def __init__(
        self, model: BaseSegmentor | Mapping[str, BaseSegmentor], adapter: str | None = None
    ) -> None:
        self.models = model if isinstance(model, Mapping) else {None: model}
        self.image: Picture | None = None
        self.embeddings: dict[str | None, Embedding] = {}
        self.use(next(iter(self.models), None) if adapter is None else adapter)

    def use(self, adapter: str | None) -> None:
        """Goes on with another model. An image that is set stays; each model embeds it once."""
        model = self.models[adapter]
        require_prompts(model)
        self.adapter, self.model = adapter, model

    def set_image(self, image: Picture, image_format: str = 'RGB') -> None:
        """Computes the embedding of an image.

        Args:
            image: A path, or an array (H, W, 3), uint8.
            image_format: Of an array: 'RGB' or 'BGR'.

        Raises:
            FileNotFoundError, ValueError: No such file; an array that is no such image. No image is
                set then.
        """
        self.reset_image()
        image = _as_bgr(image, image_format) if isinstance(image, np.ndarray) else image
        self.embeddings[self.adapter] = embed(self.model, image)
        self.image = image

    def reset_image(self) -> None:
        """Forgets the image."""
        self.image, self.embeddings = None, {}

    @property
    def is_image_set(self) -> bool:
        return self.image is not None

    @property
    def embedding(self) -> Embedding:
        """Of the image, by the model in use. RuntimeError without an image."""
        if self.image is None:
            raise RuntimeError(NO_IMAGE)
        if self.adapter not in self.embeddings:
            self.embeddings[self.adapter] = embed(self.model, self.image)
        return self.embeddings[self.adapter]

    @property
    def original_size(self) -> Size:
        """(H, W) of the image."""
        return self.embedding.original_size

    @property
    def input_size(self) -> Size:
        """(H, W) of the network's input, without padding."""
        return self.embedding.input_size

    @property
    def transform(self) -> ToInput:
        """From coordinates of the image to those of the network's input."""
        return ToInput(self.input_size)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def get_image_embedding(self) -> Tensor:
        """The map that the head decodes, (1, C, h, w)."""
        return self.model.decode_head._transform_inputs(self.embedding.maps)

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The masks of one object.

        Args:
            point_coords: (P, 2), x and y in pixels of the image.
            point_labels: (P,): 1 on the object, 0 beside it, -1 for no point.
            box: (4,), x0, y0, x1, y1; what of it is outside of the image is cut off.
            mask_input: (1, 4h, 4w), logits that an earlier call returned.
            multimask_output: Three masks, for prompts that may mean several things, such as a
                single click; else one.
            return_logits: Logits in place of masks.

        Returns:
            Masks (M, H, W), bool; the IoU (M,) that the model expects of each; and logits (M, 4h,
            4w), of which a later call takes one as ``mask_input``.

        Raises:
            RuntimeError: No image is set.
            ValueError: No prompt; points outside of the image; labels that do not fit; a box
                without area; a mask of another size; NaN.
        """
        size = self.original_size
        points, labels = checked_points(point_coords, point_labels, size)
        given: dict[str, np.ndarray | None] = dict.fromkeys(('coords', 'boxes', 'masks'))
        if len(points):
            given['coords'] = self.transform.apply_coords(points, size)[None]
        if box is not None:
            given['boxes'] = self.transform.apply_boxes(checked_boxes([box], size), size)
        if mask_input is not None:
            given['masks'] = np.asarray(mask_input)[None]
        coords, boxes, masks = (
            None if one is None else torch.as_tensor(one, dtype=torch.float32, device=self.device)
            for one in given.values()
        )
        found = self.predict_torch(
            coords,
            None if coords is None else torch.as_tensor(labels, device=self.device)[None],
            boxes,
            masks,
            multimask_output,
            return_logits,
        )
        answer, scores, logits = (one[0].cpu().numpy() for one in found)
        return answer, scores, logits

    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The masks of N objects at once.

        Args:
            point_coords: (N, P, 2), in pixels of the network's input, see ``transform``.
            point_labels: (N, P).
            boxes: (N, 4), in the same pixels.
            mask_input: (N, 1, 4h, 4w).
            multimask_output, return_logits: As for ``predict``.

        Returns:
            Masks (N, M, H, W), IoU (N, M) and logits (N, M, 4h, 4w).

        Raises:
            RuntimeError: No image is set.
            ValueError: See :class:`Prompts`.
            NotFiniteError: The model's logits are NaN or infinite.
        """
        logits, scores = self.answer(
            point_coords, point_labels, boxes, mask_input, multimask_output
        )
        masks = self.to_image(logits)
        return masks if return_logits else masks > self.mask_threshold, scores, logits

    @torch.no_grad()
    def answer(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """``predict_torch``'s logits (N, M, 4h, 4w) and IoU (N, M), without masks at the size of
        the image, which take most of the memory."""
        embedding = self.embedding
        given = [one for one in (point_coords, boxes, mask_input) if one is not None]
        number = len(given[0]) if given else 1
        image = torch.zeros(number, dtype=torch.long, device=self.device)
        if point_coords is None or point_labels is None:
            _require_both(point_coords, point_labels)
            point_coords = torch.zeros(number, 0, 2, device=self.device)
            point_labels = torch.zeros(number, 0, dtype=torch.long, device=self.device)
        prompts = Prompts(image, point_coords, point_labels, boxes, mask_input)
        logits, scores = self.model.decode_head.prompted(embedding.maps, prompts, multimask_output)
        logits, scores = logits.float(), scores.float()
        if not (logits.sum() + scores.sum()).isfinite():
            raise NotFiniteError(
                'The model answers a prompt with numbers that are NaN or infinite: its weights are '
                'broken, or the image has such pixels. Use an earlier checkpoint.'
            )
        return logits, scores

    def to_image(self, logits: Tensor) -> Tensor:
        """Logits (N, M, 4h, 4w) at the size of the image, (N, M, H, W)."""
        height, width = self.input_size
        padded = tuple(self.model.decode_head.stride * side // 4 for side in logits.shape[2:])
        logits = F.interpolate(logits, size=padded, mode='bilinear', align_corners=False)
        return F.interpolate(
            logits[..., :height, :width],
            size=self.original_size,
            mode='bilinear',
            align_corners=False,
        )


@torch.no_grad()
def embed(model: BaseSegmentor, image: Picture) -> Embedding:
    """What a model's encoder makes of a path, or of an array in BGR. ValueError for an array where
    ``pixels`` says what of a file the model sees."""
    from_array = isinstance(image, np.ndarray)
    if from_array and (pixels := model.cfg.test_pipeline[0].get('pixels')):
        raise ValueError(
            f'got an array, but the model sees of image files what pixels={pixels} makes of them: '
            'give the path.'
        )
    given = dict(img=image) if from_array else dict(img_path=os.fspath(image))
    packed = pipeline_of(model, from_array)(given)
    data = model.data_preprocessor({key: [packed[key]] for key in ('inputs', 'data_samples')})
    sample = data['data_samples'][0]
    return Embedding(model.extract_feat(data['inputs']), sample.ori_shape[:2], sample.img_shape[:2])


def require_prompts(model: BaseSegmentor) -> None:
    """Raises ValueError for a model that answers no prompts, with what to do."""
    head = getattr(model, 'decode_head', None)
    if not getattr(head, 'has_prompts', False):
        binary = hasattr(head, 'has_prompts') and head.class_head is None
        cure = (
            'Switch them on: decode_head.prompts=True, such as init_model(..., '
            "cfg_options={'model.decode_head.prompts': True})."
            if binary
            else 'Prompts mean one object; a SAMMaskHead of two classes answers them.'
        )
        raise ValueError(f'The model, with its {type(head).__name__}, answers no prompts. {cure}')
    if (model.test_cfg or {}).get('mode') == 'slide':
        raise ValueError(
            'The model predicts by sliding windows, and prompts are about whole images. Set '
            "model.test_cfg.mode='whole', and a test pipeline that resizes."
        )


def _as_bgr(image: np.ndarray, image_format: str) -> np.ndarray:
    if image_format not in ('RGB', 'BGR'):
        raise ValueError(f"image_format={image_format!r}: expected 'RGB' or 'BGR'.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f'got an image of {image.shape}, {image.dtype}: expected height x width x 3, uint8. '
            'Other images are read from their files: give the path.'
        )
    return (image if image_format == 'BGR' else image[..., ::-1]).copy()


def _require_both(coords: Tensor | None, labels: Tensor | None) -> None:
    if (coords is None) != (labels is None):
        given, other = ('labels', 'points') if coords is None else ('points', 'labels')
        raise ValueError(f'got {given} without {other}: every point has a label.')
