from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseTTAModel
from torch import Tensor, nn

from ..datasets.transforms.prompts import box_of
from ..measures.clicks import iou_of, number_of_clicks, objects_of, robot_click
from ..models.decode_heads.sam_decoder import to_image
from ..models.prompt_encoders import Prompts
from ..registry import METRICS
from .sample import UNLABELLED, ground_truth

AT_ONCE = 16
"""Objects that go through the decoder together."""


@METRICS.register_module()
class ClickMetric(BaseMetric):
    """How many clicks a model needs to cut out one object, and how good its masks are after so
    many, by the standard robot user: it clicks in the middle of the largest error, see
    ``robot_click``, at first on the object.

    Objects are those of class 1 in a data set's maps of objects, else its connected parts.
    ``NoC@85`` is the mean number of clicks until the
    IoU is 85 % (of ``clicks`` where it never is), ``missed@85`` the share of objects, in percent,
    where it never is; ``IoU@3`` the mean IoU after three clicks in percent, and ``IoU@box`` that
    of a box around the object, without a click. All are means over objects. With ``_per_image``,
    over images, in which objects count alike.

    Each answer is given back with the next click. For the first click the model gives three masks
    and the one counts that it holds to be the best; after that, one.

    The model comes from ``MetricModelHook``, which the tools add. It encodes each image once more.

    Args:
        thresholds: In percent.
        clicks: The most that an object gets.
        iou_at: Numbers of clicks after which IoU is given.
        least: Pixels below which a part is no object.
        ignore_index: Label of the pixels that take no part.

    Raises:
        ValueError: The arguments; in evaluation, a model without prompts, or one that averages over
            views or windows, and a set without an object.
    """

    default_prefix = ''
    model: nn.Module | None = None

    def __init__(
        self,
        thresholds: Sequence[int] = (85, 90),
        clicks: int = 20,
        iou_at: Sequence[int] = (1, 3, 5),
        least: int = 16,
        ignore_index: int = 255,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        if not thresholds or not all(0 < one <= 100 for one in thresholds) or clicks < 1:
            raise ValueError(
                f'ClickMetric has thresholds={list(thresholds)}, clicks={clicks}: expected IoU in '
                'percent, above 0, and at least 1 click.'
            )
        if not all(1 <= one <= clicks for one in iou_at):
            raise ValueError(
                f'ClickMetric has iou_at={list(iou_at)}, expected numbers of clicks from 1 to '
                f'clicks={clicks}.'
            )
        self.thresholds, self.clicks, self.iou_at = list(thresholds), clicks, list(iou_at)
        self.least, self.ignore_index = least, ignore_index

    @property
    def better(self) -> dict[str, str]:
        """Whether 'higher' or 'lower' is better, by the name of each result."""
        names = self._means([np.zeros((1, 1 + self.clicks))])
        return {name: 'higher' if name.startswith('IoU') else 'lower' for name in names}

    def bind(self, model: nn.Module) -> None:
        """Called by ``MetricModelHook`` before an evaluation."""
        if isinstance(model, BaseTTAModel):
            raise ValueError(
                'ClickMetric cannot average over views, as a click is a place in one of them: '
                'leave --tta out.'
            )
        if not getattr(getattr(model, 'decode_head', None), 'has_prompts', False):
            raise ValueError(
                'ClickMetric needs a model that answers to prompts, and this '
                f'{type(model).__name__} does not: set model.decode_head.prompts=True, or train '
                'with prompts at the top of the config.'
            )
        if model.test_cfg.get('mode') == 'slide':
            raise ValueError(
                'ClickMetric looks at whole images, and this model at windows (test_cfg.mode): set '
                "model.test_cfg.mode='whole'."
            )
        self.model = model

    @torch.no_grad()
    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        if self.model is None:
            raise ValueError(
                'ClickMetric has no model to click at: add '
                "custom_hooks=[dict(type='MetricModelHook')], as the tools do by themselves."
            )
        batch = self.model.data_preprocessor(data_batch, False)
        maps = self.model.extract_feat(batch['inputs'])
        for number, sample in enumerate(data_samples):
            target, valid = (
                one.cpu().numpy() for one in ground_truth(sample, 1, self.ignore_index)
            )
            instances = sample.get('gt_instances')
            if instances is not None:
                instances = instances['data'][0].cpu().numpy()
            parts, count = objects_of(target & valid, self.least, instances)
            if not count:
                self.results.append(UNLABELLED)
                continue
            one = tuple(level[number : number + 1] for level in maps)
            shape = batch['data_samples'][number].img_shape[:2]
            answerer = Answerer(self.model.decode_head, one, shape, batch['inputs'].shape[2:])
            found = [
                self._image(answerer, parts, range(first, min(first + AT_ONCE, count + 1)), valid)
                for first in range(1, count + 1, AT_ONCE)
            ]
            self.results.append(np.concatenate(found))

    def _image(
        self, answerer: 'Answerer', parts: np.ndarray, numbers: range, valid: np.ndarray
    ) -> np.ndarray:
        """Of some objects (n) of an image: IoU with a box, and after each click, (n, 1 +
        clicks)."""
        targets = np.stack([parts == number for number in numbers])
        boxes = np.stack([box_of(target) for target in targets])
        masks = answerer.boxed(boxes, targets.shape[1:])
        of_boxes = [iou_of(*pair, valid) for pair in zip(masks, targets, strict=True)]
        enough = max(self.thresholds) / 100, max(self.iou_at, default=1)
        curves = click_curves(answerer.clicked, targets, valid, self.clicks, *enough)
        return np.column_stack([of_boxes, curves])

    def compute_metrics(self, results: list) -> dict[str, float]:
        images = [np.asarray(one) for one in results if len(one)]
        if not images:
            raise ValueError(
                f'None of {len(results)} images has an object of at least {self.least} pixels: '
                'there is nothing to click at. Leave ClickMetric out, or lower its least.'
            )
        return self._means(images)

    def _means(self, images: list[np.ndarray]) -> dict[str, float]:
        """Over all objects and over images, from (n, 1 + clicks) of each."""
        means = [self._scores(one) for one in images]
        found = self._scores(np.concatenate(images))
        return found | {
            f'{name}_per_image': float(np.mean([one[name] for one in means])) for name in found
        }

    def _scores(self, curves: np.ndarray) -> dict[str, float]:
        """Means over objects, from (n, 1 + clicks)."""
        found = {}
        for threshold in self.thresholds:
            counts = [number_of_clicks(one[1:], threshold / 100) for one in curves]
            found[f'NoC@{threshold}'] = float(np.mean(counts))
            missed = curves[:, 1:].max(1) < threshold / 100
            found[f'missed@{threshold}'] = 100 * float(missed.mean())
        for number in self.iou_at:
            found[f'IoU@{number}'] = 100 * float(curves[:, number].mean())
        return found | {'IoU@box': 100 * float(curves[:, 0].mean())}


class Answerer:
    """A head's masks of objects of one image, at the size of its mask.

    Args:
        head: With ``prompted``.
        maps: Of the encoder, for this image alone.
        shape: (H, W) of the image in the network, without padding.
        padded: With it.
    """

    def __init__(
        self,
        head: nn.Module,
        maps: tuple[Tensor, ...],
        shape: Sequence[int],
        padded: Sequence[int],
    ) -> None:
        self.head, self.maps, self.shape, self.padded = head, maps, tuple(shape), tuple(padded)

    def boxed(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """For boxes (n, 4) in pixels of the mask, its masks, bool (n, *size)."""
        corners = self._in_network(boxes.reshape(-1, 2, 2), size)
        low = corners[:, 0]
        boxes = torch.cat([low, torch.maximum(corners[:, 1], low + 1e-3)], 1)
        none = corners.new_zeros(len(boxes), 0, 2)
        masks, _, _ = self._ask(none, none[..., 0].long(), boxes, None, False)
        return self._of_size(masks, size)

    def clicked(
        self, clicks: np.ndarray, logits: Tensor | None, size: tuple[int, int]
    ) -> tuple[np.ndarray, Tensor]:
        """For clicks (n, k, 3) of x, y and label in pixels of the mask, and the last answer's
        logits, masks, bool (n, *size), and new logits."""
        points = self._in_network(clicks[..., :2], size)
        labels = torch.as_tensor(clicks[..., 2], device=points.device).long()
        masks, held, low = self._ask(points, labels, None, logits, clicks.shape[1] == 1)
        best, each = held.argmax(1), torch.arange(len(held), device=held.device)
        return self._of_size(masks[each, best][:, None], size), low[each, best][:, None]

    def _ask(
        self,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None,
        logits: Tensor | None,
        multimask: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks at the size of the padded input, how good they are held to be, and logits."""
        image = torch.zeros(len(points), dtype=torch.long, device=points.device)
        prompts = Prompts(image, points, labels, boxes, logits)
        low, held = self.head.prompted(self.maps, prompts, multimask)
        return to_image(low.float(), self.padded, self.head.stride), held, low.float()

    def _in_network(self, places: np.ndarray, size: tuple[int, int]) -> Tensor:
        """Centres of pixels (x, y) of the mask as places in the network's input."""
        scale = np.array([self.shape[1] / size[1], self.shape[0] / size[0]])
        moved = (places + 0.5) * scale - 0.5
        return torch.as_tensor(moved, dtype=torch.float32, device=self.maps[-1].device)

    def _of_size(self, masks: Tensor, size: tuple[int, int]) -> np.ndarray:
        height, width = self.shape
        logits = masks[..., :height, :width]
        if self.shape != tuple(size):
            logits = F.interpolate(logits, size=size, mode='bilinear', align_corners=False)
        return (logits[:, 0] > 0).cpu().numpy()


def click_curves(
    answer: Callable,
    targets: np.ndarray,
    valid: np.ndarray,
    clicks: int,
    good: float,
    at_least: int,
) -> np.ndarray:
    """The IoU of n objects after each click of the robot, (n, clicks).

    An object gets no more clicks once its IoU is ``good`` and it had ``at_least`` so many, or no
    error is left; the rest of its row repeats the last.

    Args:
        answer: From all clicks of some objects (m, k, 3), their last logits and the masks' size, to
            masks, bool (m, H, W), and new logits.
        targets: bool (n, H, W).
        valid: bool (H, W).
    """
    curves = np.zeros((len(targets), clicks))
    masks, given = np.zeros_like(targets), [[] for _ in targets]
    going, logits = list(range(len(targets))), None
    for number in range(clicks):
        new = {
            i: robot_click(masks[i], targets[i], valid, [one[:2] for one in given[i]])
            for i in going
        }
        kept = [k for k, i in enumerate(going) if new[i] is not None]
        going = [going[k] for k in kept]
        if not going:
            break
        for i in going:
            given[i].append(new[i])
        logits = None if logits is None else logits[kept]
        masks[going], logits = answer(
            np.array([given[i] for i in going]), logits, targets.shape[1:]
        )
        for i in going:
            curves[i, number:] = iou_of(masks[i], targets[i], valid)
        if number + 1 >= at_least:
            kept = [k for k, i in enumerate(going) if curves[i, number] < good]
            going, logits = [going[k] for k in kept], logits[kept]
    return curves
