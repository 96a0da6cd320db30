import numpy as np
import pytest

from mmsam_peft.analysis.prompt_panels import chosen, prompt_panels, scene_row
from mmsam_peft.apis import Predictor


def test_a_row_for_each_scene(build, tiny):
    options = {'model.decode_head.prompts': True}
    model = build(options, trained=True)
    model.cfg = tiny(options)
    predictor = Predictor(model)
    row = scene_row(predictor, 100002, 2, 60)
    assert [text.split(':')[0] for text, _ in row] == ['scene 100002', 'click 1', 'click 2', 'box']
    assert all(tile.shape == (60, 60, 3) for _, tile in row)
    assert all((tile != row[0][1]).any() for _, tile in row[1:])
    assert prompt_panels(predictor, [100002, 100014], 1, 60).shape[1] == 3 * 160 + 10


def test_the_largest_object_that_is_not_too_large():
    instances = np.zeros((100, 100), int)
    instances[:60], instances[60:80, :40], instances[60:70, 40:80] = 1, 2, 3
    assert chosen(instances, 0) == 2
    with pytest.raises(ValueError, match='scene 7 has no object of 2% to 30%'):
        chosen(np.zeros((100, 100), int), 7)
