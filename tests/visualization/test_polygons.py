import json

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from mmsam_peft.visualization.polygons import mask_polygons, ring_area, write_polygons


def filled(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie in an odd number of rings, by Matplotlib's own geometry."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1)
    inside = [Outline(ring).contains_points(centres) for ring in rings]
    return (np.sum(inside, 0) % 2 == 1).reshape(shape)


def masks() -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[:40, :50]
    distance = np.hypot(rows - 20, columns - 25)
    target = (distance < 6) | (distance > 10) & (distance < 16)  # an island in a hole
    dot, cross = np.zeros((5, 7), bool), np.zeros((4, 4), bool)
    dot[2, 3] = True
    cross[[0, 1, 2, 3, 0], [0, 1, 2, 3, 3]] = True  # pixels that touch at corners
    noise = {f'noise {i}': np.random.default_rng(i).random((24, 31)) < 0.5 for i in range(6)}
    ring = np.ones((5, 5), bool)
    ring[1, 1] = ring[2, 2] = ring[3, 3] = False  # holes that touch at corners
    everything = dict(full=np.ones((6, 3), bool), none=np.zeros((6, 3), bool))
    return dict(target=target, dot=dot, cross=cross, ring=ring, **everything, **noise)


@pytest.mark.parametrize('name', masks())
def test_filling_the_polygons_gives_the_mask(name):
    mask, together = masks()[name], []
    for rings in mask_polygons(mask):
        own = filled(rings, mask.shape)
        assert sum(map(ring_area, rings)) == own.sum() > 0
        assert ring_area(rings[0]) > 0 and all(ring_area(hole) < 0 for hole in rings[1:])
        assert all((ring[0] == ring[-1]).all() and len(ring) >= 5 for ring in rings)
        # corners only, and each side along an axis
        steps = [np.diff(ring, axis=0) for ring in rings]
        assert all(((step != 0).sum(1) == 1).all() for step in steps)
        together.append(own)
    assert (np.sum(together, 0) if together else np.zeros_like(mask, int)).tolist() == mask.tolist()


def test_two_rings_of_a_target():
    disc, ring = sorted(mask_polygons(masks()['target']), key=len)
    assert len(disc) == 1 and len(ring) == 2


def test_file(tmp_path):
    """One square of class 2 with a hole of class 1, in pixels from the top left corner."""
    mask = np.zeros((6, 8), np.int64)
    mask[1:5, 2:6] = 2
    mask[2:4, 3:5] = 1
    write_polygons(mask, ['ground', 'road', 'car'], 0, tmp_path / 'new/a.geojson')
    content = json.loads((tmp_path / 'new/a.geojson').read_text())
    assert (content['type'], content['width'], content['height']) == ('FeatureCollection', 8, 6)
    road, car = content['features']
    assert road['properties'] == {'class_id': 1, 'class': 'road', 'area': 4}
    assert car['properties'] == {'class_id': 2, 'class': 'car', 'area': 12}
    outer, hole = car['geometry']['coordinates']
    assert sorted(map(tuple, outer[:-1])) == [(2, 1), (2, 5), (6, 1), (6, 5)]
    assert sorted(map(tuple, hole[:-1])) == [(3, 2), (3, 4), (5, 2), (5, 4)]
    assert sorted(map(tuple, road['geometry']['coordinates'][0][:-1])) == sorted(
        map(tuple, hole[:-1])
    )
    write_polygons(mask, None, None, tmp_path / 'b.geojson')
    features = json.loads((tmp_path / 'b.geojson').read_text())['features']
    assert [feature['properties']['class_id'] for feature in features] == [0, 1, 2]
