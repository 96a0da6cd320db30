"""A picture with a few objects, known by arithmetic alone, and each format written by hand."""

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco

WIDTH, HEIGHT = 64, 48
CATEGORIES = ('road', 'car')  # the order of the formats' own lists, not of the alphabet
NAME, EMPTY, UNSEEN = 'Straße 1.JPG', 'nothing.png', 'unseen.jpg'
"""Annotated with objects, annotated without any, not annotated."""


@dataclass
class Area:
    """A convex polygon with, maybe, a round hole."""

    category: str
    points: list[tuple[float, float]]
    hole: tuple[float, float, float] | None = None

    @property
    def inside(self) -> np.ndarray:
        """Pixels whose centre is inside, by the sign of each edge's normal."""
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        inside = np.ones((HEIGHT, WIDTH), bool)
        for (ax, ay), (bx, by) in zip(self.points, self.points[1:] + self.points[:1], strict=True):
            inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0
        if self.hole:
            cx, cy, radius = self.hole
            inside &= (x - cx) ** 2 + (y - cy) ** 2 > radius**2
        return inside

    def near_edge(self, tolerance: float) -> np.ndarray:
        """Pixels whose centre is that near to an edge."""
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        near = np.zeros((HEIGHT, WIDTH), bool)
        for (ax, ay), (bx, by) in zip(self.points, self.points[1:] + self.points[:1], strict=True):
            length = np.hypot(bx - ax, by - ay)
            along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length**2
            along = np.clip(along, 0, 1)
            near |= np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)) < tolerance
        return near


@dataclass
class Scene:
    areas: list[Area] = field(default_factory=list)

    @property
    def truth(self) -> np.ndarray:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for area in self.areas:
            mask[area.inside] = CATEGORIES.index(area.category) + 1
        return mask

    def near_edge(self, tolerance: float = 0.3) -> np.ndarray:
        return np.any([area.near_edge(tolerance) for area in self.areas], axis=0)

    def visible(self) -> list[tuple[str, np.ndarray]]:
        """The areas without what later ones cover."""
        found, covered = [], np.zeros((HEIGHT, WIDTH), bool)
        for area in reversed(self.areas):
            found.append((area.category, area.inside & ~covered))
            covered |= area.inside
        return found[::-1]


ROAD = [(5.3, 10.2), (55.1, 8.4), (60.7, 40.2), (8.9, 44.0)]
POLYGONS = Scene(
    [
        Area('road', ROAD),
        Area('car', [(20.0, 15.0), (40.4, 18.3), (28.1, 35.7)]),
        Area('car', [(50.2, 30.3), (63.9, 30.3), (63.9, 47.5), (50.2, 47.5)]),
    ]
)
HOLES = Scene([Area('road', ROAD, hole=(15.0, 25.0, 6.2)), *POLYGONS.areas[1:]])


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for name in (NAME, EMPTY, UNSEEN):
        Image.fromarray(pixels).save(folder / name)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return buffer.getvalue()


def save(path: Path, content: bytes | str | dict | list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict | list):
        content = json.dumps(content, ensure_ascii=False, indent=1)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def flat(area: Area, scale: tuple[float, float] = (1, 1)) -> list[float]:
    return [
        value * factor for point in area.points for value, factor in zip(point, scale, strict=True)
    ]


def runs(flat_mask: np.ndarray) -> list[int]:
    """Lengths of runs, the first of zeros."""
    changes = np.flatnonzero(np.diff(flat_mask.astype(int), prepend=0, append=2))
    return np.diff([0, *changes]).tolist() if len(changes) else [len(flat_mask)]


def coco_json(segmentations: list, crowd: list[int] | None = None, **more) -> dict:
    categories = [area.category for area in POLYGONS.areas]
    numbers = dict(road=7, car=3)
    return dict(
        info=dict(description='ü'),
        images=[
            dict(id=12, file_name=f'D:\\bilder\\{NAME}', width=WIDTH, height=HEIGHT),
            dict(id=5, file_name=EMPTY, width=WIDTH, height=HEIGHT),
        ],
        annotations=[
            dict(
                id=number,
                image_id=12,
                category_id=numbers[category],
                segmentation=segmentation,
                iscrowd=0,
                **more,
            )
            for number, (category, segmentation) in enumerate(
                zip(categories, segmentations, strict=True)
            )
        ],
        categories=[dict(id=numbers[name], name=name) for name in CATEGORIES],
    )


def coco_polygons(root: Path, scene: Scene) -> Path:
    return save(root / 'images' / 'all.json', coco_json([[flat(area)] for area in scene.areas]))


def coco_runs(root: Path, scene: Scene) -> Path:
    stored = [
        dict(size=[HEIGHT, WIDTH], counts=runs(area.inside.ravel('F'))) for area in scene.areas
    ]
    (root / 'images').rename(root / 'train')
    return save(root / 'annotations' / 'all.json', coco_json(stored))


def coco_text(root: Path, scene: Scene) -> Path:
    stored = [coco.encode(np.asfortranarray(area.inside)) for area in scene.areas]
    for one in stored:
        one['counts'] = one['counts'].decode()
    return save(root / 'images' / 'all.json', coco_json(stored))


def yolo(root: Path, scene: Scene) -> Path:
    save(root / 'data.yaml', 'names:\n  0: road\n  1: car\n')
    lines = [
        ' '.join(map(str, [CATEGORIES.index(area.category), *flat(area, (1 / WIDTH, 1 / HEIGHT))]))
        for area in scene.areas
    ]
    save(root / 'labels' / 'Straße 1.txt', '\n'.join(lines))
    save(root / 'labels' / 'nothing.txt', '')
    return root / 'labels'


def _labelme(name: str, shapes: list[dict]) -> dict:
    return dict(
        version='5.5.0',
        shapes=shapes,
        imagePath=f'..\\images\\{name}',
        imageData=None,
        imageHeight=HEIGHT,
        imageWidth=WIDTH,
    )


def labelme(root: Path, scene: Scene) -> Path:
    shapes = [
        dict(label=area.category, points=area.points, shape_type='polygon') for area in scene.areas
    ]
    save(root / 'images' / 'labels.txt', '__ignore__\n_background_\nroad\ncar\n')
    save(root / 'images' / 'nothing.json', _labelme(EMPTY, []))
    save(root / 'images' / 'Straße 1.json', _labelme(NAME, shapes))
    return root / 'images'


def labelme_masks(root: Path, scene: Scene) -> Path:
    shapes = []
    for area in scene.areas:
        y, x = np.nonzero(area.inside)
        part = area.inside[y.min() : y.max() + 1, x.min() : x.max() + 1]
        shapes.append(
            dict(
                label=area.category,
                points=[[int(x.min()), int(y.min())], [int(x.max()), int(y.max())]],
                shape_type='mask',
                mask=base64.b64encode(png(part)).decode(),
            )
        )
    save(root / 'json' / 'labels.txt', 'road\ncar\n')
    save(root / 'json' / 'nothing.json', _labelme(EMPTY, []))
    save(root / 'json' / 'another name.json', _labelme(NAME, shapes))
    return root / 'json'


def _cvat(shapes: str) -> str:
    image = f'width="{WIDTH}" height="{HEIGHT}"'
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>road</name><type>any</type></label><label><name>car</name><type>any</type></label>
</labels></task></meta>
<image id="0" name="{NAME}" {image}>{shapes}</image><image id="1" name="{EMPTY}" {image}/>
</annotations>"""


def cvat(root: Path, scene: Scene) -> Path:
    shapes = [
        f'<polygon label="{area.category}" z_order="{number}" points="'
        f'{";".join(f"{x},{y}" for x, y in area.points)}"><attribute name="a">b</attribute>'
        '</polygon>'
        for number, area in enumerate(scene.areas)
    ]
    return save(root / 'images' / 'annotations.xml', _cvat(''.join(shapes[::-1])))


def cvat_rle(root: Path, scene: Scene) -> Path:
    shapes = ''
    for area in scene.areas:
        y, x = np.nonzero(area.inside)
        part = area.inside[y.min() : y.max() + 1, x.min() : x.max() + 1]
        shapes += (
            f'<mask label="{area.category}" rle="{", ".join(map(str, runs(part.ravel())))}" '
            f'left="{x.min()}" top="{y.min()}" width="{part.shape[1]}" height="{part.shape[0]}" '
            'z_order="0"></mask>'
        )
    return save(root / 'annotations.xml', _cvat(shapes))


def _studio(results: list[dict], **data) -> list[dict]:
    def task(number: int, name: str, result: list[dict]) -> dict:
        done = dict(id=number, was_cancelled=False, result=result)
        return dict(id=number, annotations=[done], data=dict(image=name), predictions=[])

    unlabelled = dict(id=9, annotations=[], data=dict(image=UNSEEN))
    return [
        task(4, f'/data/upload/3/0a1b2c3d-{NAME.replace(" ", "%20")}', results),
        task(5, f'/data/local-files/?d=x/{EMPTY}', []),
        unlabelled,
    ]


def _region(kind: str, area: Area, value: dict) -> dict:
    return dict(
        type=f'{kind}labels',
        from_name='tool-1',
        original_width=WIDTH,
        original_height=HEIGHT,
        image_rotation=0,
        value=dict(value, **{f'{kind}labels': [area.category]}),
    )


def label_studio(root: Path, scene: Scene) -> Path:
    results = [
        _region(
            'polygon',
            area,
            dict(points=[[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in area.points]),
        )
        for area in scene.areas
    ]
    return save(root / 'images' / 'export.json', _studio(results))


def brush(inside: np.ndarray) -> list[int]:
    """Label Studio's run lengths: each row's runs of pixels as repeated words, and each row's last
    pixel as words of its own."""
    lengths = (3, 4, 8, 16)
    bits = f'{4 * inside.size:032b}{7:05b}' + ''.join(f'{size - 1:04b}' for size in lengths)
    for row in inside:
        stretch = np.split(row[:-1], np.flatnonzero(np.diff(row[:-1].astype(int))) + 1)
        for part in stretch:
            bits += f'1{3:02b}{4 * len(part) - 1:016b}{255 * int(part[0]):08b}'
        bits += f'0{1:02b}{3:04b}' + 4 * f'{255 * int(row[-1]):08b}'
    bits += '0' * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def label_studio_brush(root: Path, scene: Scene) -> Path:
    results = [
        _region('brush', area, dict(format='rle', rle=brush(area.inside))) for area in scene.areas
    ]
    return save(root / 'images' / 'export.json', _studio(results))


def label_studio_min(root: Path, scene: Scene) -> Path:
    regions = [
        dict(
            format='rle',
            rle=brush(area.inside),
            brushlabels=[area.category],
            original_width=WIDTH,
            original_height=HEIGHT,
        )
        for area in scene.areas
    ]
    shared = dict(annotator=1, annotation_id=2)
    tasks = [
        dict(id=4, image=f'/data/upload/3/{NAME}', tag=regions, **shared),
        dict(id=5, image=EMPTY, **shared),
    ]
    return save(root / 'images' / 'export.json', tasks)


def label_studio_pngs(root: Path, scene: Scene) -> Path:
    for number, area in enumerate(scene.areas):
        name = f'task-4-annotation-7-by-me@home.org-tool-1-{area.category}-{number}.png'
        save(root / 'png' / name, png(area.inside.astype(np.uint8) * 255))
    save(
        root / 'png' / 'task-5-annotation-8-by-1-tool-1-car-0.png',
        png(np.zeros((HEIGHT, WIDTH), np.uint8)),
    )
    regions = [_region('brush', area, dict(format='rle', rle=[])) for area in scene.areas]
    save(root / 'png' / 'export.json', _studio(regions))
    return root / 'png'


def masks(root: Path, scene: Scene, save_mask, ending: str = '.png', folder: str = 'masks') -> Path:
    """``save_mask(numbers, path)`` writes each image's."""
    for name, numbers in ((NAME, scene.truth), (EMPTY, np.zeros_like(scene.truth))):
        path = root / folder / (Path(name).stem + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_mask(numbers, path)
    return root / folder


PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[[1, 2, 255]] = (128, 0, 0), (0, 128, 0), (224, 224, 192)


def with_palette(numbers: np.ndarray, path: Path) -> None:
    image = Image.fromarray(numbers, 'P')
    image.putpalette(PALETTE.ravel().tolist())
    image.save(path)


def in_colours(numbers: np.ndarray, path: Path) -> None:
    Image.fromarray(PALETTE[numbers]).save(path)


def voc(root: Path, scene: Scene) -> Path:
    save(root / 'class_names.txt', '__ignore__\n_background_\nroad\ncar\n')
    (root / 'images').rename(root / 'JPEGImages')
    masks(root, scene, with_palette, folder='SegmentationClass')
    return root


def cvat_masks(root: Path, scene: Scene) -> Path:
    save(
        root / 'labelmap.txt',
        '# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,0,0::\ncar:0,128,0::\n',
    )
    return masks(root, scene, in_colours, folder='SegmentationClass').parent
