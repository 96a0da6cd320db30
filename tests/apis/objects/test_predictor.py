from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything.modeling import Sam

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis import AdapterBank, Predictor
from mmsam_peft.apis.inference import init_model, pipeline_of
from mmsam_peft.finite import NotFiniteError
from mmsam_peft.models.prompt_encoders import Prompts

PROMPTS = {'model.decode_head.prompts': True}
SQUARE = {'model.data_preprocessor.test_cfg': dict(size=(64, 64))}  # as SAM pads
RATIO = [  # as SAM resizes
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackSegInputs'),
]


@pytest.fixture
def predictor(tiny, build):
    model = build({**PROMPTS, **SQUARE}, trained=True)
    model.cfg = tiny({**PROMPTS, 'test_pipeline': RATIO})
    return Predictor(model)


@pytest.fixture
def picture(tmp_path):
    """A file of 128 x 96 pixels, and what is in it."""
    values = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    pixels = np.kron(values, np.ones((8, 8, 1), np.uint8))
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    return tmp_path / 'a.png', pixels


def by_hand(predictor, path, points, labels, boxes=None, multimask=True):
    """From resized pixels, with segment-anything's own way back to the image's size."""
    model = predictor.model
    small = pipeline_of(model)(dict(img_path=str(path)))['inputs'][None, [2, 1, 0]].float()
    x = torch.nn.functional.pad((small - 128) / 64, (0, 0, 0, 16))
    with torch.no_grad():
        prompts = Prompts(torch.tensor([0]), points, labels, boxes)
        logits, scores = model.decode_head.prompted(model.extract_feat(x), prompts, multimask)
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=64))
    return Sam.postprocess_masks(sam, logits, (48, 64), (96, 128))[0], scores[0], logits[0]


def test_it_is_sams_predictor(predictor, picture, relative, monkeypatch):
    path, _ = picture
    predictor.set_image(path)
    assert (predictor.original_size, predictor.input_size) == ((96, 128), (48, 64))
    assert predictor.get_image_embedding().shape == (1, 32, 4, 4)
    found = predictor.predict([[20, 40], [127, 95]], [1, 0], return_logits=True)
    expected = by_hand(
        predictor, path, torch.tensor([[[10.0, 20], [63.5, 47.5]]]), torch.tensor([[1, 0]])
    )
    assert found[0].shape == (3, 96, 128) and found[2].shape == (3, 16, 16)
    for ours, its in zip(found, expected, strict=True):
        assert relative(torch.from_numpy(ours), its) < 1e-5
    masks, scores, logits = predictor.predict(box=[-5, 10, 60, 90], multimask_output=False)
    expected = by_hand(
        predictor,
        path,
        torch.zeros(1, 0, 2),
        torch.zeros(1, 0, dtype=torch.long),
        torch.tensor([[0.0, 5, 30, 45]]),
        False,
    )
    assert masks.dtype == bool and np.array_equal(masks, expected[0] > 0)
    assert relative(torch.from_numpy(logits), expected[2]) < 1e-5
    with monkeypatch.context() as changed:
        padded = predictor.embedding._replace(input_size=(56, 42))
        changed.setitem(predictor.embeddings, None, padded)
        changed.setattr(predictor.model.decode_head, 'stride', 14)  # no multiple of 4
        ramp = torch.arange(16.0).expand(1, 1, 16, 16)
        right = predictor.to_image(ramp)[0, 0, 0, -1].item()
    assert right == pytest.approx(41.5 * 16 / 56 - 0.5, abs=1e-4)  # of the last column shown
    refined = predictor.predict([[20, 40]], [1], mask_input=logits, multimask_output=False)
    assert refined[2].shape == (1, 16, 16) and not np.allclose(refined[2], logits)


def test_many_objects_are_each_alone(predictor, picture):
    predictor.set_image(picture[0])
    boxes = np.array([[2, 3, 50, 60], [20, 10, 120, 90]])
    scaled = torch.from_numpy(predictor.transform.apply_boxes(boxes, (96, 128))).float()
    masks, scores, _ = predictor.predict_torch(None, None, scaled, None, False, True)
    for n, box in enumerate(boxes):
        alone = predictor.predict(box=box, multimask_output=False, return_logits=True)
        np.testing.assert_allclose(masks[n], alone[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores[n], alone[1], rtol=1e-4, atol=1e-5)


def test_paths_and_arrays_of_a_turned_photograph(predictor, picture, tmp_path):
    """Points are those of the upright picture."""
    path, pixels = picture
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    Image.open(path).save(tmp_path / 'turned.png', exif=exif)
    upright = np.rot90(pixels, -1)
    answers = []
    for image, kind in (
        (tmp_path / 'turned.png', 'RGB'),
        (upright, 'RGB'),
        (upright[..., ::-1], 'BGR'),
    ):
        predictor.set_image(image, kind)
        assert predictor.original_size == (128, 96)
        answers.append(predictor.predict([[90, 120]], [1])[2])
    assert np.array_equal(answers[0], answers[1]) and np.array_equal(answers[0], answers[2])


def test_one_embedding_for_all_clicks_and_one_for_each_adapter(tiny, build, picture, tmp_path):
    tiny(PROMPTS).dump(tmp_path / 'config.py')
    names = {}
    for seed, name in enumerate(('one', 'two')):
        model = build(PROMPTS, trained=True)
        for parameter in model.backbone.parameters():
            parameter.data += 0.1 * seed * parameter.requires_grad
        names[name] = tmp_path / f'{name}.safetensors'
        save_adapter(model, names[name])
    bank, calls = AdapterBank(tmp_path / 'config.py', names, 'cpu'), []
    for name, model in bank.items():
        model.backbone.register_forward_hook(lambda *_, name=name: calls.append(name))
    predictor = Predictor(bank, 'two')
    predictor.set_image(picture[0])
    found = {}
    for name in ('two', 'one', 'two', 'one'):
        predictor.use(name)
        found.setdefault(name, []).append(predictor.predict([[3, 4]], [1])[2])
    assert calls == ['two', 'one']
    for name, (first, again) in found.items():
        alone = Predictor(bank[name])
        alone.set_image(picture[0])
        assert np.array_equal(first, again)
        assert np.array_equal(first, alone.predict([[3, 4]], [1])[2])
    assert not np.allclose(found['one'][0], found['two'][0])
    predictor.set_image(picture[1])
    assert calls[-1] == 'one' and list(predictor.embeddings) == ['one']


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(), 'neither points nor boxes nor masks'),
        (dict(point_coords=[[1, 2]]), 'got points without labels'),
        (dict(point_labels=[1]), 'got labels without points'),
        (dict(point_coords=[1, 2], point_labels=[1]), r'points of \(2,\) and labels of \(1,\)'),
        (dict(point_coords=[[1, 2]], point_labels=[1, 0]), r'labels of \(2,\), expected \(P, 2\)'),
        (dict(point_coords=[[1, 2]], point_labels=[2]), r'got the label 2: a point is on the obj'),
        (dict(point_coords=[[1, 2]], point_labels=[0.5]), 'got the label 0.5'),
        (dict(point_coords=[[129, 2]], point_labels=[1]), 'x=129, y=2, which is outside of the im'),
        (dict(point_coords=[[9, 120]], point_labels=[1]), 'outside of the image of 128 x 96 pixel'),
        (dict(point_coords=[[9, 120]], point_labels=[1]), 'x comes first'),
        (dict(point_coords=[[1, np.nan]], point_labels=[1]), 'got points with NaN'),
        (dict(point_coords=[['a', 'b']], point_labels=[1]), 'points that are no array of numbers'),
        (dict(box=[5, 5, 5, 9]), 'x0=5, y0=5, x1=5, y1=9, which has no area'),
        (dict(box=[50, 5, 20, 9]), 'which has no area: expected x0 < x1'),
        (dict(box=[200, 5, 300, 9]), 'which is outside of the image'),
        (dict(box=[1, 2, 3]), r'got boxes of \(1, 3\), expected x0, y0, x1, y1'),
        (dict(box=[1, 2, 3, np.inf]), 'got boxes with NaN or infinite'),
        (dict(mask_input=np.zeros((1, 8, 8))), r'masks: got \(8, 8\) logits, expected \(16, 16\)'),
        (dict(mask_input=np.zeros((16, 16))), 'expected one map of logits per object'),
        (dict(mask_input=np.full((1, 16, 16), np.nan)), 'masks: got NaN'),
    ],
)
def test_wrong_prompts(predictor, picture, given, message):
    predictor.set_image(picture[0])
    with pytest.raises(ValueError, match=message):
        predictor.predict(**given)


def test_no_image(predictor, picture, tmp_path):
    for action in (lambda: predictor.predict([[1, 2]], [1]), predictor.get_image_embedding):
        with pytest.raises(RuntimeError, match='No image is set: call set_image'):
            action()
    predictor.set_image(picture[0])
    with pytest.raises(FileNotFoundError):
        predictor.set_image(tmp_path / 'missing.png')
    assert not predictor.is_image_set
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match='expected height x width x 3, uint8'):
            predictor.set_image(wrong)
    with pytest.raises(ValueError, match="image_format='HSV'"):
        predictor.set_image(np.zeros((4, 4, 3), np.uint8), 'HSV')


def test_broken_weights(predictor, picture):
    predictor.model.decode_head.mask_tokens.weight.data[0] = float('nan')
    predictor.set_image(picture[0])
    with pytest.raises(NotFiniteError, match='answers a prompt with numbers that are NaN'):
        predictor.predict([[1, 2]], [1])


def test_models_that_answer_no_prompts(build):
    with pytest.raises(
        ValueError, match='SAMMaskHead, answers no prompts. Switch them on: decode_'
    ):
        Predictor(build())
    classes = {'model.decode_head.num_classes': 3, 'model.decode_head.num_queries': 4}
    with pytest.raises(ValueError, match='Prompts mean one object'):
        Predictor(build(classes))
    windows = dict(mode='slide', crop_size=(64, 64), stride=(32, 32))
    with pytest.raises(ValueError, match='predicts by sliding windows'):
        Predictor(build({**PROMPTS, 'model.test_cfg': windows}))
    with pytest.raises(KeyError):
        Predictor(AdapterBank(), 'missing')


def test_an_adapter_that_was_trained_without_prompts(build, tiny, tmp_path, picture):
    """Its own mask stays; clicks are answered by what the base weights bring along."""
    whole = {f'backbone.{key}': value for key, value in build().backbone.state_dict().items()} | {
        f'decode_head.{key}': value
        for key, value in build(PROMPTS).decode_head.state_dict().items()
    }
    names = ('lora_', '.original')
    torch.save(
        {k: v for k, v in whole.items() if not any(n in k for n in names)}, tmp_path / 'base.pth'
    )
    model = build(trained=True)
    save_adapter(model, tmp_path / 'adapter.safetensors', config=tiny())
    plain = init_model(tmp_path / 'adapter.safetensors', device='cpu')
    both = init_model(tmp_path / 'adapter.safetensors', device='cpu', cfg_options=PROMPTS)
    predictor = Predictor(both)
    predictor.set_image(picture[0])
    assert predictor.predict([[3, 4]], [1])[0].shape == (3, 96, 128)
    x = plain.extract_feat(torch.randn(1, 3, 64, 64))
    assert torch.equal(plain.decode_head(x), both.decode_head(x))
    save_adapter(both, tmp_path / 'both.safetensors', config=both.cfg)
    again = Predictor(init_model(tmp_path / 'both.safetensors', device='cpu'))  # which says it all
    again.set_image(picture[0])
    for ours, its in zip(
        again.predict([[3, 4]], [1]), predictor.predict([[3, 4]], [1]), strict=True
    ):
        assert np.array_equal(ours, its)


def test_arrays_where_pixels_are_set(predictor, picture):
    predictor.model.cfg.test_pipeline[0]['pixels'] = dict(low=0, high=100)
    with pytest.raises(
        ValueError, match='got an array, but the model sees of image files what pix'
    ):
        predictor.set_image(picture[1])
