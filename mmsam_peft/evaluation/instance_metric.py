"""Average precision of instance masks, by COCO's own program."""

import contextlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric

from ..registry import METRICS

NAMES = ('AP', 'AP50', 'AP75', 'AP_small', 'AP_medium', 'AP_large')


@METRICS.register_module()
class InstanceAPMetric(BaseMetric):
    """COCO's AP of masks in percent: the mean over IoU thresholds from 0.5 to 0.95, over classes
    and recalls; ``AP50``, ``AP75``, and ``AP_small``, ``AP_medium``, ``AP_large`` of objects below
    32 x 32 pixels, up to 96 x 96, and above. NaN where the data have none of that size.

    Samples carry ``gt_instances`` and ``pred_instances``, as MMDetection's do: ``masks`` (N, H, W)
    and ``labels`` (N,), and predictions ``scores`` (N,).

    Raises:
        ImportError: pycocotools is not installed.
    """

    default_prefix = ''

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        coco_tools()

    @property
    def better(self) -> dict[str, str]:
        """Whether 'higher' or 'lower' is better, by the name of each result."""
        return dict.fromkeys(NAMES, 'higher')

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            truth, found = (_encoded(sample[f'{kind}_instances']) for kind in ('gt', 'pred'))
            size = tuple(sample['gt_instances']['masks'].shape[1:])
            self.results.append((size, truth, found))

    def compute_metrics(self, results: list) -> dict[str, float]:
        truth: dict[str, list] = dict(images=[], annotations=[], categories=[])
        found: list[dict] = []
        for image_id, (size, true, predicted) in enumerate(results, 1):
            height, width = size
            truth['images'].append(dict(id=image_id, height=height, width=width))
            truth['annotations'] += [dict(one, image_id=image_id) for one in true]
            found += [dict(one, image_id=image_id) for one in predicted]
        for number, one in enumerate(truth['annotations'], 1):
            one['id'] = number
        classes = {one['category_id'] for one in (*truth['annotations'], *found)}
        truth['categories'] = [dict(id=one) for one in sorted(classes)]
        return instance_ap(truth, found)


def instance_ap(truth: dict, found: Sequence[dict], by_class: bool = True) -> dict[str, float]:
    """``NAMES``, in percent, of COCO results against a COCO data set.

    Args:
        truth: With images, annotations (polygons or run lengths) and categories.
        found: Annotations with ``score``.
        by_class: An object found as another class is wrong; else classes do not count.

    Raises:
        ValueError: No annotation in ``truth``; results without a score, or of images that it does
            not have.
    """
    coco, evaluate = coco_tools()
    if not truth.get('annotations'):
        raise ValueError('AP: the truth has no objects, and nothing can be scored.')
    images = {image['id'] for image in truth['images']}
    for one in found:
        if one['image_id'] not in images:
            raise ValueError(
                f'AP: a result is of image {one["image_id"]}, which the truth does not have: take '
                'both of one data set.'
            )
        if not isinstance(one.get('score'), int | float):
            raise ValueError('AP: a result has no score, by which results are ranked.')
    if not by_class:
        one_class = dict(category_id=1)
        truth = dict(
            truth,
            annotations=[{**one, **one_class} for one in truth['annotations']],
            categories=[dict(id=1)],
        )
        found = [{**one, **one_class} for one in found]
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco()
        data.dataset = truth
        data.createIndex()
        if found:
            results = data.loadRes([dict(one) for one in found])
        else:
            results = coco()
            results.dataset = dict(truth, annotations=[])
            results.createIndex()
        scorer = evaluate(data, results, 'segm')
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    values = [100 * value if value >= 0 else np.nan for value in scorer.stats[: len(NAMES)]]
    return dict(zip(NAMES, map(float, values), strict=True))


def ap_of_files(
    truth: str | os.PathLike, found: str | os.PathLike, by_class: bool = True
) -> dict[str, float]:
    """``instance_ap`` of COCO files: a data set, and the ``instances.json`` of a prediction, whose
    images are known by their names, or a list of results.

    Raises:
        FileNotFoundError, ValueError: No such file; no COCO JSON; see ``instance_ap``.
    """
    data, results = (json.loads(Path(path).read_text()) for path in (truth, found))
    parts = ('images', 'annotations', 'categories')
    if not isinstance(data, dict) or not all(isinstance(data.get(part), list) for part in parts):
        raise ValueError(f'{truth}: expected a COCO JSON with {", ".join(parts)}.')
    if isinstance(results, dict):
        ids = {image['file_name']: image['id'] for image in data['images']}
        names = {image['id']: image['file_name'] for image in results.get('images', ())}
        if unknown := [name for name in names.values() if name not in ids]:
            raise ValueError(
                f'{found} is of the image {unknown[0]}, which {truth} does not have, such as '
                f'{next(iter(ids), "none")}: predict the folder that its names are below.'
            )
        results = [
            dict(one, image_id=ids[names[one['image_id']]])
            for one in results.get('annotations', ())
        ]
    return instance_ap(data, results, by_class)


def coco_tools():
    """pycocotools' COCO and COCOeval. ImportError with what to install."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ImportError(
            "AP is computed by pycocotools, which is not installed: pip install -e '.[labels]'"
        ) from None
    return COCO, COCOeval


def _encoded(instances: Mapping) -> list[dict]:
    """(N, H, W) masks as COCO annotations: small enough to keep."""
    from pycocotools import mask as tools

    masks, labels = np.asarray(instances['masks'], np.uint8), np.asarray(instances['labels'])
    scores = np.asarray(instances['scores']).tolist() if 'scores' in instances else None
    encoded = []
    for i, mask in enumerate(masks):
        rle = tools.encode(np.asfortranarray(mask))
        rle['counts'] = rle['counts'].decode()  # as processes send it to each other
        one = dict(
            segmentation=rle,
            category_id=int(labels[i]),
            area=int(mask.sum()),
            bbox=tools.toBbox(rle).tolist(),
            iscrowd=0,
        )
        encoded.append(one if scores is None else dict(one, score=scores[i]))
    return encoded
