"""Objects from prompts and from a grid of points, and the files that they are written into."""

import json
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO

from mmsam_peft.apis.objects.automatic_masks import automatic_masks, suppress
from mmsam_peft.apis.objects.instance_files import predict_instances
from mmsam_peft.apis.objects.instances import prompted_instances
from mmsam_peft.apis.objects.predictor import Predictor
from mmsam_peft.apis.objects.prompt_files import ImagePrompts, ObjectPrompt, PromptFile

PROMPTS = {'model.decode_head.prompts': True}


@pytest.fixture
def model(tiny, build):
    model = build(PROMPTS, trained=True)
    for name, parameter in model.decode_head.named_parameters():
        if 'hypernetworks' in name or 'upscaling' in name:
            parameter.data.normal_(std=0.5)  # masks that are neither empty nor full
    model.cfg = tiny(PROMPTS)
    model.dataset_meta = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
    return model


@pytest.fixture
def images(tmp_path):
    """a.png of 48 x 36 pixels and deeper/b.png of 64 x 64."""
    for name, (width, height) in {'a.png': (48, 36), 'deeper/b.png': (64, 64)}.items():
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / 'in'


OBJECTS = (
    ObjectPrompt(box=(2, 3, 30, 30), category=5),
    ObjectPrompt(((20, 10),), (1,)),
    ObjectPrompt(((20, 10), (3, 4)), (1, 0)),
    ObjectPrompt(((40, 30),), (1,)),
    ObjectPrompt(box=(10, 3, 40, 33)),
)


def test_objects_of_all_kinds_in_their_order(model, images):
    """A single click has the best of three masks; more clicks and boxes have one."""
    predictor = Predictor(model)
    predictor.set_image(images / 'a.png')
    found = prompted_instances(predictor, OBJECTS)
    assert [one.prompt for one in found] == list(OBJECTS)
    for one in found:
        points, labels, box, _ = one.prompt
        masks, scores, _ = predictor.predict(
            points or None, labels or None, box, multimask_output=len(points) == 1
        )
        best = scores.argmax()
        assert one.mask.shape == (36, 48) and one.score == pytest.approx(scores[best], abs=1e-5)
        assert (one.mask == masks[best]).mean() > 0.99
    assert 0 < np.mean([one.mask.mean() for one in found]) < 1


@pytest.fixture
def sams_generator(monkeypatch):
    """segment-anything's own, with a plain suppression where torchvision is not installed."""
    if not find_spec('torchvision'):

        def batched_nms(boxes, scores, _, iou_threshold):
            kept = []
            for i in scores.argsort(descending=True, stable=True).tolist():
                if all(iou(boxes[i], boxes[j]) <= iou_threshold for j in kept):
                    kept.append(i)
            return torch.tensor(kept, dtype=torch.long)

        names = ('torchvision', 'torchvision.ops', 'torchvision.ops.boxes')
        names += ('torchvision.transforms', 'torchvision.transforms.functional')
        for name in names:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        boxes = sys.modules['torchvision.ops.boxes']
        boxes.batched_nms, boxes.box_area = batched_nms, None
        functional = sys.modules['torchvision.transforms.functional']
        functional.resize = functional.to_pil_image = None
    from segment_anything.automatic_mask_generator import SamAutomaticMaskGenerator

    return SamAutomaticMaskGenerator


def iou(a, b):
    a, b = a.tolist(), b.tolist()
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else 0


def test_everything_is_what_sams_generator_finds(model, images, sams_generator):
    """It drives our predictor, too. Random masks are much alike, and all stay."""
    model.decode_head.iou_prediction_head.layers[-1].bias.data += 2  # SAM's knows no least below 0
    predictor = Predictor(model)
    pixels = np.array(Image.open(images / 'a.png'))
    predictor.set_image(pixels)
    scores = [
        predictor.predict([point], [1])[1] for point in ([6, 6], [20, 30], [40, 10], [44, 30])
    ]
    least = float(np.quantile(scores, 0.3))
    settings = dict(least_score=least, least_stability=0.3, stability_offset=0.01, most_overlap=1.0)
    found = automatic_masks(predictor, 4, **settings)
    assert automatic_masks(predictor, 2, least_score=1e6) == []
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=64))
    generator = sams_generator(
        sam,
        4,
        pred_iou_thresh=least,
        stability_score_thresh=0.3,
        stability_score_offset=0.01,
        box_nms_thresh=1.0,
    )
    generator.predictor = Driven(predictor)
    expected = generator.generate(pixels)
    assert 1 < len(found) == len(expected)
    assert [one.prompt.points[0] for one in found] == [
        tuple(one['point_coords'][0]) for one in expected
    ]
    for ours, its in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(its['predicted_iou'], abs=1e-4)
        assert ours.stability == pytest.approx(its['stability_score'], abs=0.02)
        assert (ours.mask == its['segmentation']).mean() > 0.99
    with pytest.raises(ValueError, match='points_per_side=0, .* expected a number of points'):
        automatic_masks(predictor, 0)


class Driven:
    """Our predictor, with a SAM where segment-anything's generator looks for one."""

    model = SimpleNamespace(mask_threshold=0.0)

    def __init__(self, predictor):
        self.predictor = predictor

    def __getattr__(self, name):
        return getattr(self.predictor, name)


def test_suppression():
    boxes = torch.tensor(
        [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 9, 10], [5, 5, 5, 5]]
    )
    scores = torch.tensor([0.5, 0.9, 0.1, 0.7, 0.2])
    assert suppress(boxes.float(), scores, 0.8) == [1, 4, 2]
    assert suppress(boxes.float(), scores, 0.95) == [1, 3, 0, 4, 2]


def test_files(model, images, tmp_path):
    """Numbers, overlays and one COCO file, which pycocotools reads; a second run adds nothing."""
    prompts = PromptFile(
        {
            'in/deeper/b.png': ImagePrompts(OBJECTS[:3], (64, 64), 42),
            'a.png': ImagePrompts(OBJECTS[3:]),
        },
        [dict(id=1, name='thing'), dict(id=5, name='other')],
    )
    out = tmp_path / 'out'
    results = list(predict_instances(model, str(images), out, prompts))
    assert results == [(images / 'a.png', None), (images / 'deeper/b.png', None)]
    truth = COCO(str(out / 'instances.json'))
    assert {image['file_name']: image['id'] for image in truth.dataset['images']} == {
        'a.png': 1,
        'in/deeper/b.png': 42,
    }
    assert truth.dataset['categories'] == prompts.categories
    predictor = Predictor(model)
    for image_id, name, given in ((1, 'a', 'a.png'), (42, 'deeper/b', 'in/deeper/b.png')):
        predictor.set_image(images / f'{name}.png')
        expected = prompted_instances(predictor, prompts.images[given].objects)
        found = truth.loadAnns(truth.getAnnIds(image_id))
        numbers = np.array(Image.open(out / 'masks' / f'{name}.png'))
        overlay = Image.open(out / 'overlays' / f'{name}.png')
        assert overlay.size == numbers.shape[::-1] == predictor.original_size[::-1]
        assert (np.array(overlay) != np.array(Image.open(images / f'{name}.png'))).any()
        assert set(np.unique(numbers)) <= set(range(len(expected) + 1))
        assert np.array_equal(numbers > 0, np.any([one.mask for one in expected], 0))
        for one, annotation in zip(expected, found, strict=True):
            assert np.array_equal(truth.annToMask(annotation), one.mask)
            assert annotation['score'] == pytest.approx(one.score)
            assert annotation['category_id'] == (one.prompt.category or 1)
            assert annotation['area'] == one.mask.sum()
            assert annotation['bbox'] == rle_tools.toBbox(annotation['segmentation']).tolist()
    truth.loadRes(truth.dataset['annotations'])  # as results, too
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.png')}
    again = (out / 'instances.json').read_bytes()
    assert list(predict_instances(model, str(images), out, prompts)) == results
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.png')} == before
    assert (out / 'instances.json').read_bytes() == again
    with pytest.raises(FileExistsError, match='predictions of another model, or with other sett'):
        list(predict_instances(model, str(images), out, None, 2))
    list(predict_instances(model, str(images), out, None, 2, overwrite=True))
    everything = json.loads((out / 'instances.json').read_text())
    assert everything['categories'] == [dict(id=1, name='disc')]


def test_what_goes_wrong(model, images, tmp_path):
    """An image whose prompts do not fit is named, and the others go on."""
    boxes = (ObjectPrompt(box=(2, 3, 30, 30)),)
    prompts = PromptFile({'a.png': ImagePrompts(boxes, (48, 36)), 'b.png': ImagePrompts(boxes)})
    (_, error), (_, fine) = predict_instances(model, str(images), tmp_path / 'out', prompts)
    assert 'its image has 48 x 36 as it is shown: it is turned by its EXIF data' in str(error)
    assert fine is None
    content = json.loads((tmp_path / 'out/instances.json').read_text())
    assert [image['file_name'] for image in content['images']] == ['deeper/b.png']
    outside = PromptFile({'a.png': ImagePrompts((ObjectPrompt(((90, 3),), (1,)),))})
    [(_, error)] = predict_instances(model, str(images), tmp_path / 'other', outside)
    assert 'x=90, y=3, which is outside of the image of 48 x 36' in str(error)
    with pytest.raises(FileNotFoundError, match='The file of prompts names c.png'):
        list(predict_instances(model, str(images), tmp_path, PromptFile({'c.png': prompts})))
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/instances.json').write_text('mine')
    with pytest.raises(FileExistsError, match='instances.json is there already, and not of'):
        list(predict_instances(model, str(images), tmp_path / 'mine', overwrite=True))
    assert (tmp_path / 'mine/instances.json').read_text() == 'mine'
