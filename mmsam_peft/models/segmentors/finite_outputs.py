"""Predictions made of NaN look like any: class 0 is the largest, and none is above a threshold."""

from collections.abc import Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from ...finite import NotFiniteError


def require_finite_outputs(
    outputs: Tensor, samples: Sequence[SegDataSample] | None, what: str
) -> None:
    """Looks at a network's outputs (B, ...) of the images ``samples``, before classes are read off.

    Raises:
        NotFiniteError: A number is NaN or infinite; names the images.
    """
    if outputs.sum().isfinite():  # a tenth of the time of looking at each number
        return
    finite = outputs.flatten(1).isfinite().all(1).tolist()
    metas = [sample.metainfo for sample in samples] if samples else [{}] * len(finite)
    names = [
        meta.get('img_path') or f'image {i} of the batch'
        for i, meta in enumerate(metas)
        if not finite[i]
    ]
    if names:
        raise NotFiniteError(
            f'{", ".join(map(str, names))}: the model gives {what} that are NaN or infinite. If '
            'all images fail, its weights are broken: use an earlier checkpoint, or train with a '
            'lower learning rate (optim_wrapper.optimizer.lr). If some do, look at their pixels. '
            'Use bfloat16 or float32 in place of float16.'
        )


@torch.no_grad()
def require_finite_samples(samples: Sequence[SegDataSample]) -> None:
    """Looks at what any segmentor has predicted, class numbers aside: for models that do not look
    at their outputs themselves.

    Raises:
        NotFiniteError: A number is NaN or infinite; names the image.
    """
    for sample in samples:
        for name, field in sample.items():
            data = field.get('data') if name.startswith(('seg_logits', 'pred_')) else None
            if isinstance(data, Tensor) and data.is_floating_point():
                require_finite_outputs(data[None], [sample], name)
