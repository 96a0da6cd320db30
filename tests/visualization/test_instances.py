import numpy as np
import pytest
from PIL import Image

from mmsam_peft.visualization.instances import (
    BESIDE,
    ON,
    draw_prompts,
    instance_overlay,
    numbered,
    write_numbers,
)


def test_the_smaller_of_two_is_seen():
    large, small = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    large[:, :4] = small[1:3, 2:5] = True
    expected = np.where(small, 1, np.where(large, 2, 0))
    assert np.array_equal(numbered([small, large], (4, 6)), expected)
    assert not numbered([], (4, 6)).any()


def test_numbers_as_a_picture(tmp_path):
    """With colours up to 255 objects, in 16 bits above."""
    few = np.arange(256).reshape(16, 16)
    for numbers, mode in ((few, 'P'), (few + 1000, 'I;16')):
        write_numbers(numbers, tmp_path / 'a.png')
        with Image.open(tmp_path / 'a.png') as picture:
            assert picture.mode == mode and np.array_equal(np.array(picture), numbers)
            assert mode != 'P' or len(set(picture.convert('RGB').getdata())) > 200
    with pytest.raises(ValueError, match='70000 objects, and a PNG numbers 65,535 at most'):
        write_numbers(few + 69745, tmp_path / 'a.png')


def test_objects_and_prompts_in_a_picture():
    image = np.full((60, 80, 3), 100, np.uint8)
    numbers = np.zeros((60, 80), int)
    numbers[10:30, 10:30], numbers[10:30, 30:50] = 1, 2
    picture = instance_overlay(image, numbers)
    assert (picture[numbers == 0] == 100).all()
    assert len({tuple(picture[20, x]) for x in (15, 35, 70)}) == 3
    drawn = draw_prompts(
        image, [(20, 20), (60, 40), (5, 50)], [1, 0, -1], (30, 5, 70, 55), (9, 9, 9)
    )
    assert (image == 100).all()
    assert tuple(drawn[18, 18]) == ON and tuple(drawn[38, 58]) == BESIDE
    assert (drawn[50, 5] == 100).all() and tuple(drawn[5, 50]) == tuple(drawn[55, 50]) == (9, 9, 9)
