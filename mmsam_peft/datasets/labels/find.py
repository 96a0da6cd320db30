"""Which format of annotations a file or folder holds."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..checks.problems import DatasetError, short
from ..files import files_below
from ..folder import MASK_SUFFIXES
from .annotations import Annotations
from .coco import Coco
from .cvat import Cvat
from .image_list import ImageList
from .label_studio import PNG, LabelStudio, LabelStudioPngs, is_label_studio
from .labelme import LabelMe
from .spans import json_parts
from .stored_masks import ENDINGS, MaskFolder, ObjectMasks
from .voc import CLASS, MAP, OBJECT, CvatMasks, Voc
from .yolo import LISTS, Yolo, label_files

FORMATS = (
    "COCO JSON, YOLO polygons, LabelMe JSON, Pascal VOC's SegmentationClass, CVAT for images 1.1, "
    'CVAT segmentation mask 1.1, Label Studio JSON, or a folder of masks'
)
HEAD = 1 << 16
LOOKED_AT = 50
REFUSED = {
    'via': 'VGG Image Annotator, which is not read: export COCO JSON',
    'boxes': 'Pascal VOC boxes (XML), which have no outlines: export masks',
    'zip': 'an archive: unpack it, and name what is in it',
}


@dataclass(frozen=True)
class _Found:
    format: str
    build: Callable[[Path | None], Annotations]
    """Takes the folder of the images, where it is told."""


def find_annotations(path: str | Path, images: str | Path | None = None) -> Annotations:
    """The annotations in a file or folder, of any format.

    Args:
        images: the folder of the images. Default: where the format has them, which is beside the
            annotations; masks need it.

    Raises:
        DatasetError: what is there is of no format, of several, or of one that has no areas; or
            none of the images is found.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f'{path}: no such file or folder, expected annotations: {FORMATS}')
    if images is not None and not Path(images).is_dir():
        raise DatasetError(f'{images}: no such folder, expected the images')
    found = _in_folder(path, images) if path.is_dir() else _in_file(path)
    wanted = [one for one in found if one.format not in REFUSED]
    if len(wanted) > 1:
        raise DatasetError(
            f'{path}: got annotations of several formats or files: '
            f'{short("; ".join(one.format for one in wanted))}. Name one of them'
        )
    if not wanted:
        raise DatasetError(f'{path}: {_nothing(path, found)}')
    try:
        return wanted[0].build(None if images is None else Path(images))
    except DatasetError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        fault = f'no {error} in an entry' if isinstance(error, KeyError) else str(error)
        raise DatasetError(f'{path}: got {wanted[0].format}, but {short(fault)}') from error


def _nothing(path: Path, found: list[_Found]) -> str:
    if found:
        return f'got {REFUSED[found[0].format]}'
    if path.is_dir():
        suffixes = Counter(Path(file).suffix or 'no suffix' for file in files_below(path))
        listing = ', '.join(f'{count} x {suffix}' for suffix, count in suffixes.most_common(5))
        seen = f'files ({listing})' if suffixes else 'an empty folder'
    else:
        seen = f'a file that begins with {short(repr(_head(path)[:60]))}'
    return f'got {seen}, expected annotations: {FORMATS}'


def _in_file(path: Path) -> list[_Found]:
    """At most one."""
    suffix = path.suffix.lower()
    if suffix == '.json':
        kind = json_kind(path)
        classes = {'coco': Coco, 'labelme': LabelMe, 'label-studio': LabelStudio}
        if kind in classes:
            return [_Found(f'{kind} ({path.name})', _beside(classes[kind], path))]
        return [_Found(kind, _refuse)] if kind else []
    if suffix == '.xml':
        head = _head(path)
        if re.search(r'<annotations[\s>]', head):
            return [_Found(f'cvat ({path.name})', _beside(Cvat, path))]
        return [_Found('boxes', _refuse)] if '<annotation' in head else []
    if suffix in ('.yaml', '.yml') or path.name in LISTS:
        return [_Found(f'yolo ({path.name})', _yolo(path))]
    if path.name == MAP:
        return _in_folder(path.parent, None)
    return [_Found('zip', _refuse)] if suffix in ('.zip', '.tar', '.gz', '.7z', '.rar') else []


def _in_folder(path: Path, images: str | Path | None) -> list[_Found]:
    if path.name in (CLASS, OBJECT):
        return [_Found('voc', _voc(path))]
    files = files_below(path)
    found, text = [], [file for file in files if file.lower().endswith(('.json', '.xml'))]
    kinds = [one for file in islice(text, LOOKED_AT) for one in _in_file(path / file)]
    labelme = [one for one in kinds if one.format.startswith('labelme')]
    found += [_Found('labelme', _beside(LabelMe, path))] if labelme else []
    found += [one for one in kinds if one not in labelme]
    folders = {file.split('/')[-2]: (path / file).parent for file in files if file.count('/')}
    for name in (CLASS, OBJECT):
        if name in folders and not any(one.format == 'voc' for one in found):
            found.append(_Found('voc', _voc(folders[name])))
    if _has_yolo(path):
        found.append(_Found('yolo', _yolo(path)))
    if any(PNG.fullmatch(file) for file in files):
        found = [one for one in found if not one.format.startswith('label-studio')]
        found.append(_Found('label-studio-png', _beside(LabelStudioPngs, path)))
    masks = [file for file in files if file.lower().endswith(MASK_SUFFIXES)]
    if masks and not [one for one in found if one.format not in REFUSED]:
        found.append(_Found('masks', _masks(path, masks)))
    return found


def json_kind(path: Path) -> str | None:
    """The format of a JSON file, by its beginning."""
    head = _head(path).lstrip('\ufeff \t\r\n')
    if head.startswith('['):
        try:
            _, task, _ = next(json_parts(path))
        except (ValueError, StopIteration):
            return None
        return 'label-studio' if is_label_studio(task) else None
    if not head.startswith('{'):
        return None
    if '"_via_' in head:
        return 'via'
    if re.search(r'"(shapes|imagePath)"\s*:', head):
        return 'labelme'
    return 'coco' if re.search(r'"(images|annotations|categories)"\s*:', head) else None


def _has_yolo(path: Path) -> bool:
    for file in islice(label_files(path), LOOKED_AT):
        words = file.read_text('utf-8-sig', errors='replace').split(maxsplit=8)
        if len(words) >= 5 and re.fullmatch(r'\d+( -?[\d.]+(e-?\d+)?){4}', ' '.join(words[:5])):
            return True
        if not words and file.parent.name == 'labels':
            return True
    return False


def _head(path: Path) -> str:
    with path.open('rb') as file:
        return file.read(HEAD).decode('utf-8', 'replace')


def _refuse(images: Path | None) -> Annotations:
    raise NotImplementedError


def _beside(kind: type[Annotations], path: Path) -> Callable[[Path | None], Annotations]:
    """Images in the folder of the annotations, or beside a folder ``annotations``."""

    def build(images: Path | None) -> Annotations:
        folder = path if path.is_dir() else path.parent
        if images is None and folder.name.lower() in ('annotations', 'labels', 'ann'):
            return kind(path, ImageList(_with_images(folder, folder.absolute().parent)))
        return kind(path, ImageList(images or folder))

    return build


def _with_images(*folders: Path) -> Path:
    """The first that has images; the last if none."""
    return next((one for one in folders if one.is_dir() and ImageList(one).paths), folders[-1])


def _yolo(path: Path) -> Callable[[Path | None], Annotations]:
    def build(images: Path | None) -> Annotations:
        folder = (path if path.is_dir() else path.parent).absolute()
        parts = [part for part in folder.parts]
        if 'labels' in parts:
            last = len(parts) - 1 - parts[::-1].index('labels')
            other = Path(*parts[:last], 'images', *parts[last + 1 :])
            folder = _with_images(other, folder)
        return Yolo(path, ImageList(images or folder, dropped='images'))

    return build


def _voc(masks: Path) -> Callable[[Path | None], Annotations]:
    def build(images: Path | None) -> Annotations:
        root = masks.absolute().parent
        beside = images or _with_images(root / 'JPEGImages', root / 'images', root)
        kind = CvatMasks if (root / MAP).is_file() else Voc
        return kind(masks, ImageList(beside, skipped=masks.name), masks)

    return build


def _masks(path: Path, masks: list[str]) -> Callable[[Path | None], Annotations]:
    def build(images: Path | None) -> Annotations:
        folders = any('masks' in file.split('/')[:-1] for file in masks)
        inside = any('images' in file.split('/')[:-1] for file in masks)
        if images is None and not (folders and inside):
            raise DatasetError(
                f'{path}: got {len(masks)} masks, expected the folder of their images too: name it'
            )
        listed = ImageList(images or path, dropped='images', skipped='masks' if folders else '')
        taken = {Path(image).resolve() for image in listed.paths}
        own = [file for file in masks if _is_mask(path, file, taken)]
        if not own:
            raise DatasetError(
                f'{path}: got the images themselves, expected masks in another folder, or named '
                'NAME_mask.png'
            )
        named, by_folder = [], {}
        for file in own:
            parts = [part for part in Path(file).with_suffix('').parts if part != 'masks']
            named.append(('/'.join(parts), path / file))
            by_folder.setdefault('/'.join(parts[:-1]), []).append(path / file)
        if _are_objects(listed, [name for name, _ in named]):
            return ObjectMasks(path, listed, by_folder)
        return MaskFolder(path, listed, named)

    return build


def _is_mask(folder: Path, file: str, images: set[Path]) -> bool:
    return (folder / file).resolve() not in images or bool(ENDINGS.search(Path(file).stem))


def _are_objects(images: ImageList, names: list[str]) -> bool:
    """Whether folders of masks are named as images, and masks are not."""

    def known(name: str) -> bool:
        try:
            return bool(name and images.find(name))
        except ValueError:
            return True  # several: it is reported later

    looked_at = [name for name in names if '/' in name][:LOOKED_AT]
    if not looked_at or any(known(name) or known(ENDINGS.sub('', name)) for name in looked_at):
        return False
    return any(known(name.rpartition('/')[0]) for name in looked_at)
