import json

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.apis import init_model, predict
from mmsam_peft.apis.extras import Extras

QUERIES = {
    'model.decode_head.num_classes': 3,
    'model.decode_head.num_queries': 4,
    'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
}


@pytest.fixture
def images(tmp_path):
    (tmp_path / 'in').mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(pixels.repeat(8, 0).repeat(8, 1)).save(tmp_path / f'in/{i}.png')
    return str(tmp_path / 'in')


@pytest.fixture
def binary(ready):
    return init_model(*ready, 'cpu')


@pytest.fixture
def classes(build, tiny):
    model = build(QUERIES, trained=True)
    model.cfg = tiny(QUERIES)
    model.dataset_meta = dict(classes=['a', 'b', 'c'], palette=[[9, 9, 9], [0, 255, 0], [1, 2, 3]])
    return model


def mask_of(folder, i: int) -> np.ndarray:
    return np.asarray(Image.open(folder / f'masks/{i}.png'))


def test_another_threshold_and_probabilities_of_one_class(binary, images, tmp_path):
    """Masks, probabilities and polygons say the same."""
    found = {}
    for threshold in (None, 0.5, 0.3, 0.7):
        out = tmp_path / str(threshold)
        results = predict(binary, images, out, extras=Extras(threshold, True, True))
        assert [error for _, error in results] == [None] * 3
        probability = np.load(out / 'probabilities/0.npy')
        assert probability.shape == (1, 32, 40) and probability.dtype == np.float32
        assert 0 <= probability.min() < probability.max() <= 1
        found[threshold] = mask_of(out, 0)
        assert (found[threshold] == (probability[0] > (threshold or 0.5))).all()
        features = json.loads((out / 'polygons/0.geojson').read_text())['features']
        assert sum(one['properties']['area'] for one in features) == (found[threshold] == 1).sum()
        assert {one['properties']['class'] for one in features} <= {'disc'}
    assert (found[None] == found[0.5]).all()
    assert found[0.3].sum() > found[0.5].sum() > found[0.7].sum()
    overlay = np.asarray(Image.open(tmp_path / '0.3/overlays/0.png'))
    plain = np.asarray(Image.open(f'{images}/0.png'))
    assert ((overlay != plain).any(-1) <= (found[0.3] == 1)).all()


def test_probabilities_of_classes(classes, images, tmp_path):
    extras = Extras(probabilities=True, polygons=True)
    assert not any(error for _, error in predict(classes, images, tmp_path / 'out', extras=extras))
    probability = np.load(tmp_path / 'out/probabilities/1.npy')
    assert probability.shape == (3, 32, 40) and np.allclose(probability.sum(0), 1, atol=1e-5)
    assert (probability.argmax(0) == mask_of(tmp_path / 'out', 1)).all()
    features = json.loads((tmp_path / 'out/polygons/1.geojson').read_text())['features']
    areas = sum(one['properties']['area'] for one in features)
    assert areas == 32 * 40, 'no class of these is a background'


@pytest.mark.parametrize('threshold', [0, 1, -0.5, 50, float('nan')])
def test_a_threshold_that_is_no_probability(binary, images, tmp_path, threshold):
    with pytest.raises(ValueError, match=f'threshold={threshold}: expected a probability'):
        list(predict(binary, images, tmp_path / 'out', extras=Extras(threshold)))
    assert not (tmp_path / 'out').exists()


def test_a_threshold_for_classes_is_refused(classes, images, tmp_path):
    with pytest.raises(ValueError, match='threshold=0.3: the model chooses the likeliest of 3'):
        list(predict(classes, images, tmp_path / 'out', extras=Extras(0.3)))
    assert not (tmp_path / 'out').exists()


def test_outputs_of_other_options_do_not_mix(binary, images, tmp_path):
    """They go on only with the same; ``overwrite`` leaves nothing of the others."""
    out, full = tmp_path / 'out', Extras(0.4, True, True)
    list(predict(binary, images, out, extras=full))
    (out / 'probabilities/1.npy').unlink()
    seen = []
    step = binary.test_step
    binary.test_step = lambda data: seen.append(len(data['inputs'])) or step(data)
    list(predict(binary, images, out, extras=full))
    assert seen == [1]
    for other in (Extras(), Extras(0.4), Extras(0.5, True, True), Extras(0.4, True)):
        with pytest.raises(FileExistsError, match='with other settings'):
            list(predict(binary, images, out, extras=other))
    list(predict(binary, images, out, overwrite=True))
    files = {path.relative_to(out).parts[0] for path in out.rglob('*') if path.is_file()}
    assert files == {'masks', 'overlays', 'predictions.jsonl'}
