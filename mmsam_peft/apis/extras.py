"""What prediction makes on request beside masks and overlays: another threshold, probabilities,
polygons."""

from typing import NamedTuple

from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..models.segmentors import MultiTaskSegmentor

BACKGROUND = ('background', '_background_', 'bg')


class Extras(NamedTuple):
    """Args:
    threshold: Of the foreground's probability, for models of one class; None: the model's own.
    probabilities: Write ``probabilities/NAME.npy``.
    polygons: Write ``polygons/NAME.geojson``.
    """

    threshold: float | None = None
    probabilities: bool = False
    polygons: bool = False

    @property
    def folders(self) -> dict[str, str]:
        """The folders of the further files, with their suffixes."""
        return {
            **(dict(probabilities='.npy') if self.probabilities else {}),
            **(dict(polygons='.geojson') if self.polygons else {}),
        }

    def check(self, model: nn.Module) -> None:
        """Raises ValueError for what the model has not, or a threshold that is no probability."""
        several = isinstance(model, MultiTaskSegmentor)
        if several and any(self):
            raise ValueError(
                f'threshold, probabilities and polygons are for models of one task; this one has '
                f'{", ".join(model.tasks)}. Its TASK/NAME.npy hold the probabilities of tasks with '
                'one foreground class, TASK/NAME.png the classes.'
            )
        if self.threshold is None:
            return
        if not is_binary(model):
            raise ValueError(
                f'threshold={self.threshold}: the model chooses the likeliest of '
                f'{model.num_classes} classes, and has no threshold. Take probabilities, and '
                'choose from them.'
            )
        if not 0 < self.threshold < 1:
            raise ValueError(f'threshold={self.threshold}: expected a probability between 0 and 1.')

    def apply(self, sample: SegDataSample) -> Tensor | None:
        """Makes the mask of another threshold; returns the probabilities where they are wanted."""
        if self.threshold is not None:
            foreground = sample.seg_logits.data  # of one class MMSegmentation gives probabilities
            mask = foreground > self.threshold
            sample.pred_sem_seg.data = mask.to(sample.pred_sem_seg.data)
        return probabilities(sample) if self.probabilities else None


def is_binary(model: nn.Module) -> bool:
    """Whether a model has one output, the foreground's."""
    return getattr(model, 'out_channels', None) == 1


def probabilities(sample: SegDataSample) -> Tensor:
    """(K, H, W), float32: of each class, which sum to 1; or (1, H, W), of the foreground."""
    values = sample.seg_logits.data.float()
    return values if len(values) == 1 else values.softmax(0)


def background(model: nn.Module) -> int | None:
    """The class that is no object, if any: the first, where the model is binary, or the class is
    called so or black."""
    meta = model.dataset_meta
    classes, palette = meta.get('classes') or [''], meta.get('palette') or [[1, 1, 1]]
    named = str(classes[0]).lower() in BACKGROUND
    return 0 if is_binary(model) or named or not any(palette[0]) else None
