"""Prompts for training, drawn from masks."""

import numpy as np
from mmcv.transforms import BaseTransform

from ...measures.clicks import objects_of, random_pixel
from ...registry import TRANSFORMS

SPREAD, MOST = 0.1, 20
"""Standard deviation of a box's corners as a share of its sides, and the most they move, in
pixels."""


@TRANSFORMS.register_module()
class SamplePrompts(BaseTransform):
    """Draws objects of a binary mask, and for each a box or a click; belongs right before
    ``PackSegInputs``, behind all that moves pixels.

    Objects are those of ``gt_instance_map`` where the data set has one, else the connected parts of
    class 1. A box has its corners moved by noise of a tenth of its sides, at most 20 pixels; a
    click is any pixel of the object (Kirillov et al., Segment Anything, arXiv 2304.02643, appendix
    A). All draws are NumPy's global ones, which the trainer seeds for each sample.

    Required keys: ``gt_seg_map`` (H, W) of 0, 1 and 255 for ignored pixels. Added keys:
    ``gt_objects`` (H, W) uint8, the number of the object, 0 elsewhere; ``prompts``, plain numbers
    with an entry for each object 1, 2, ...: ``boxes`` (x0, y0, x1, y1), ``points`` (x, y),
    ``by_box``, and ``seed``, from which later clicks are drawn.

    Args:
        box: How often an object gets a box; else it gets a click.
        objects: So many of an image at most.
        least: Pixels below which a part is no object.

    Raises:
        ValueError: The arguments; a mask of more than two classes.
    """

    def __init__(self, box: float = 0.5, objects: int = 4, least: int = 16) -> None:
        if not 0 <= box <= 1 or not 1 <= objects < 255 or least < 1:
            raise ValueError(
                f'SamplePrompts got box={box}, objects={objects}, least={least}: expected a '
                'probability, 1 to 254 objects, and at least 1 pixel.'
            )
        self.box, self.objects, self.least = box, objects, least

    def transform(self, results: dict) -> dict:
        mask = results['gt_seg_map']
        if ((mask > 1) & (mask != 255)).any():
            path = results.get('seg_map_path', 'a mask')
            raise ValueError(
                f'{path}: got the class {mask[(mask > 1) & (mask != 255)].max()}, but prompts are '
                'drawn from masks of one class and the background (0, 1, and 255 for ignored '
                'pixels): leave prompts out for several classes.'
            )
        rng = np.random.default_rng(np.random.randint(2**31))
        numbers, count = objects_of(mask == 1, self.least, results.get('gt_instance_map'))
        chosen = rng.permutation(count)[: self.objects] + 1
        objects = np.zeros(mask.shape, np.uint8)
        prompts = dict(boxes=[], points=[], by_box=[], seed=int(rng.integers(2**31)))
        for new, old in enumerate(chosen, start=1):
            where = numbers == old
            objects[where] = new
            prompts['boxes'].append(moved_box(box_of(where), mask.shape, rng))
            prompts['points'].append(list(random_pixel(where, rng)))
            prompts['by_box'].append(bool(rng.random() < self.box))
        results['gt_objects'], results['prompts'] = objects, prompts
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(box={self.box}, objects={self.objects}, least={self.least})'


def box_of(mask: np.ndarray) -> np.ndarray:
    """(x0, y0, x1, y1): the first and the last column and row of a mask that is not empty, as
    segment-anything's ``batched_mask_to_box`` has them."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float64)


def moved_box(box: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> list[float]:
    """A box as a hand draws it, inside of an image (H, W), at least a pixel wide and high."""
    sides = np.tile(box[2:] - box[:2] + 1, 2)
    box = box + rng.normal(0, SPREAD * sides).clip(-MOST, MOST)
    last = np.array([shape[1] - 1, shape[0] - 1], np.float64)
    low = np.minimum(box[:2], box[2:]).clip(0, last - 1)
    high = np.maximum(np.maximum(box[:2], box[2:]).clip(0, last), low + 1)
    return [round(float(one), 3) for one in (*low, *high)]
