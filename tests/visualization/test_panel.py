import numpy as np
import pytest
from PIL import Image

from mmsam_peft.visualization.panel import write_panel

from ..tasks.conftest import images, make


@pytest.fixture
def image():
    return np.full((40, 60, 3), (10, 200, 30), np.uint8)


def constant(task, *values):
    return np.broadcast_to(np.array(values).reshape(-1, 1, 1), (task.label_channels, 40, 60))


def shown(path, colour):
    """Share of the picture that has ``colour``, up to what resampling changes."""
    return (
        np.abs(np.asarray(Image.open(path).convert('RGB')).astype(int) - colour).max(-1) <= 2
    ).mean()


def test_every_part_is_shown(tmp_path, image):
    seg, depth, normals = (
        make('SemanticSegmentation', palette=[(i, 2 * i, 250) for i in range(5)]),
        make('Depth'),
        make('SurfaceNormals'),
    )
    path = tmp_path / 'new' / 'picture.png'
    write_panel(
        image,
        [
            (seg, constant(seg, 1), constant(seg, 3)),
            (depth, constant(depth, 2.0), constant(depth, np.nan)),
            (normals, constant(normals, 0.0, 0, 1), constant(normals, 0.0, 1, 0)),
        ],
        path,
    )
    assert Image.open(path).size[0] == 4 * 330 + 77
    cell = shown(path, (10, 200, 30))
    assert cell > 0.05
    overlaid = [
        0.4 * np.array(image[0, 0]) + 0.6 * np.array(colour)
        for colour in ((1, 2, 250), (3, 6, 250))
    ]
    for colour in *overlaid, (180, 180, 180), (128, 128, 255), (128, 255, 128):
        assert shown(path, colour) > 0.5 * cell, colour


def test_prediction_shares_the_scale_of_the_truth(tmp_path, image):
    depth = make('Depth')
    truth = np.linspace(1, 3, 40 * 60).reshape(1, 40, 60)
    write_panel(image, [(depth, constant(depth, 3.0), truth)], tmp_path / 'a.png')
    far = depth.draw(truth)[-1, -1]
    assert shown(tmp_path / 'a.png', far) > 0.5 * shown(tmp_path / 'a.png', (10, 200, 30))


def test_scale_bar(tmp_path, image):
    """Its colours are there even where no pixel has them, and it is that of the prediction if the
    truth has no value."""
    depth = make('Depth')
    truth = np.zeros((1, 40, 60))
    truth[0, 0, :2] = 1, 3
    write_panel(image, [(depth, constant(depth, 3.0), truth)], tmp_path / 'a.png')
    assert all(
        shown(tmp_path / 'a.png', depth.draw(constant(depth, x), (1, 3))[0, 0]) > 1e-4
        for x in (1.5, 2, 2.5)
    )
    write_panel(image, [(depth, truth, constant(depth, np.nan))], tmp_path / 'b.png')
    assert Image.open(tmp_path / 'b.png').size[0] == 2 * 330 + 77
    write_panel(image, [(depth, constant(depth, 0.0), constant(depth, np.nan))], tmp_path / 'c.png')
    assert Image.open(tmp_path / 'c.png').size[0] == 2 * 330


def test_without_ground_truth_there_is_one_row(tmp_path, image):
    tasks = [make(kind) for kind in ('HumanParts', 'InverseDepth', 'Saliency', 'Edges')]
    items = [(task, np.resize(images(task, 1)[0][0], (1, 40, 60)), None) for task in tasks]
    write_panel(image, items, tmp_path / 'one.png')
    write_panel(image, [(task, value, value) for task, value, _ in items], tmp_path / 'two.png')
    one, two = (Image.open(tmp_path / name).size for name in ('one.png', 'two.png'))
    assert one[0] == two[0] == 5 * 330 + 77 and one[1] < 0.7 * two[1]


def test_other_size_on_the_image(tmp_path, image):
    seg = make('SemanticSegmentation')
    with pytest.raises(ValueError, match=r"'it' has size \(20, 30\), the image \(40, 60\)"):
        write_panel(image, [(seg, constant(seg, 1)[:, :20, :30], None)], tmp_path / 'a.png')


@pytest.mark.parametrize('height, width', [(1, 20000), (20000, 1)])
def test_a_long_image(tmp_path, height, width):
    """The picture has the size of a panel, whatever the image has."""
    depth = make('Depth')
    long = np.zeros((height, width, 3), np.uint8)
    write_panel(
        long,
        [(depth, np.ones((1, height, width)), np.ones((1, height, width)))],
        tmp_path / 'long.png',
    )
    with Image.open(tmp_path / 'long.png') as picture:
        assert picture.width == 2 * 330 + 77 and 100 < picture.height <= 2 * (8 * 330 + 28)
