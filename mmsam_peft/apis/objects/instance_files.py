"""From image files and prompts to instance masks, overlays and one COCO JSON."""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmseg.models import BaseSegmentor
from rich.progress import track

from ...datasets.labels.image_list import require_size
from ...datasets.labels.shapes import rle_tools
from ...visualization.images import image_to_show
from ...visualization.instances import (
    colours,
    draw_prompts,
    instance_overlay,
    numbered,
    write_numbers,
)
from ...visualization.masks import write_picture
from ...visualization.names import output_names
from ...whole_files import write_whole
from ..from_header import header_of
from ..images import common_folder, find_images
from ..outputs import RECORD, OutputFolder, fingerprint
from .automatic_masks import automatic_masks
from .instances import Instance, prompted_instances
from .predictor import Predictor
from .prompt_files import ImagePrompts, PromptFile, match_images

TOGETHER = 'instances.json'
FOLDERS = dict(masks='.png', overlays='.png', instances='.json')
NO_PROMPTS = ImagePrompts(())
PROMPTS_ON = {'model.decode_head.prompts': True}


def predict_instances(
    model: BaseSegmentor,
    source: str,
    out_dir: str | Path,
    prompts: PromptFile | None = None,
    points_per_side: int | None = None,
    opacity: float = 0.5,
    overwrite: bool = False,
) -> Iterator[tuple[Path, Exception | None]]:
    """Predicts the objects of images and writes, into ``out_dir``, ``masks/NAME.png`` (the objects'
    numbers), ``overlays/NAME.png`` (with the prompts) and ``instances/NAME.json``; at the end
    ``instances.json``, one COCO file of all images that are done, with ``score``.

    NAME, and going on where a run was stopped, are as for ``predict``.

    Args:
        prompts: Of the images. Those that it does not name are left out.
        points_per_side: In place of prompts: see :func:`automatic_masks`.

    Yields:
        Each image, in order, with None, or with the error that it met.

    Raises:
        FileNotFoundError: No image at ``source``, or not one that ``prompts`` names.
        FileExistsError: ``out_dir`` holds other predictions, or other files of these names.
        ValueError: The model answers no prompts.
        ImportError: pycocotools is not installed.
    """
    rle_tools()  # before anything is computed
    predictor, images = Predictor(model), find_images(source)
    root = common_folder(images, source)
    wanted = dict.fromkeys(images, NO_PROMPTS)
    names = {image: image.relative_to(root).as_posix() for image in images}
    if prompts is not None:
        found = match_images(prompts.images, images, root)
        wanted = {image: prompts.images[name] for name, image in found.items()}
        wanted = {image: wanted[image] for image in images if image in wanted}
        names.update(  # so that a COCO file's images are known again
            {image: name for name, image in found.items() if wanted[image].number is not None}
        )
        if len(wanted) < len(images):
            print_log(f'{len(wanted)} of {len(images)} images have prompts', 'current')
    out = Path(out_dir)
    if (out / TOGETHER).exists() and not (out / RECORD).exists():
        raise FileExistsError(
            f'{out / TOGETHER} is there already, and not of an earlier run: give another folder.'
        )
    folder = OutputFolder(
        out,
        FOLDERS,
        fingerprint(model, opacity=opacity, prompts=prompts, grid=points_per_side),
        output_names(wanted, root),
        overwrite,
    )
    categories = categories_of(model, prompts)
    done = {image for image in wanted if folder.has(image)}
    if done:
        print_log(f'{len(done)} of {len(wanted)} images are predicted in {out} already', 'current')
    for image in track(wanted, 'Predicting') if len(done) < len(wanted) else wanted:
        if image in done:
            yield image, None
            continue
        try:
            instances = find_instances(predictor, image, wanted[image], points_per_side)
        except Exception as error:  # each decoder and transform has its own
            folder.remove(image)
            yield image, error.with_traceback(None)
            continue
        folder.note(image, complete=False)
        paths = folder.paths(folder.images[image])
        try:
            write_instances(predictor, image, names[image], instances, paths, opacity)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # the disk is full: the next would fail too
                raise
            yield image, error.with_traceback(None)
            continue
        folder.note(image, complete=True)
        yield image, None
    files = [
        (prompts.number, folder.paths(folder.images[image])['instances'])
        for image, prompts in wanted.items()
        if folder.is_complete(image)
    ]
    write_whole(out / TOGETHER, json.dumps(together(files, categories)).encode())


def options_for_prompts(
    config: Config | None, weights: str | os.PathLike, by_base: bool = False
) -> dict:
    """What switches prompts on in a model that could answer them and was trained without: SAM's own
    prompt encoder comes from its base weights. Nothing for other models.

    Args:
        by_base: The base's decoder is to answer, however the model was trained.
    """
    head = header_of(weights)[0]['head'] if config is None else config.model.decode_head
    is_binary = str(head['type']).endswith('SAMMaskHead') and not head.get('num_queries')
    prompts = head.get('prompts')
    if by_base and is_binary:
        return dict.fromkeys(PROMPTS_ON, 'base')
    if not is_binary or prompts not in (None, False):
        return {}
    print_log(
        f"{weights} was trained without prompts: SAM's own prompt encoder answers, with the tuned "
        'encoder and mask decoder.',
        'current',
    )
    return dict(PROMPTS_ON)


def find_instances(
    predictor: Predictor, image: Path, prompts: ImagePrompts, points_per_side: int | None
) -> list[Instance]:
    """The objects of an image file. ValueError when it is not of the size for which the prompts
    were made."""
    predictor.set_image(image)
    if prompts.size:
        require_size(prompts.size, predictor.original_size, turned=True)
    if points_per_side is not None:
        return automatic_masks(predictor, points_per_side)
    return prompted_instances(predictor, prompts.objects)


def write_instances(
    predictor: Predictor,
    image: Path,
    name: str,
    instances: list[Instance],
    paths: Mapping[str, Path],
    opacity: float,
) -> None:
    height, width = predictor.original_size
    numbers = numbered([one.mask for one in instances], (height, width))
    write_numbers(numbers, paths['masks'])
    pixels = predictor.model.pixels.setting() if hasattr(predictor.model, 'pixels') else None
    picture = instance_overlay(image_to_show(image, pixels), numbers, opacity)
    if all(one.stability is None for one in instances):
        for one, colour in zip(instances, colours(len(instances))[1:], strict=True):
            points, labels, box, _ = one.prompt
            picture = draw_prompts(picture, points, labels, box, colour)
    write_picture(picture, paths['overlays'])
    content = dict(
        image=dict(file_name=name, height=height, width=width),
        annotations=[annotation(one) for one in instances],
    )
    write_whole(paths['instances'], json.dumps(content).encode())


def annotation(instance: Instance) -> dict:
    """An object as COCO has it, but for the ids."""
    tools = rle_tools()
    rle = tools.encode(np.asfortranarray(instance.mask.astype(np.uint8)))
    found = dict(
        category_id=1 if instance.prompt.category is None else instance.prompt.category,
        segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
        area=int(instance.mask.sum()),
        bbox=tools.toBbox(rle).tolist(),
        iscrowd=0,
        score=instance.score,
    )
    if instance.stability is not None:
        found['stability_score'] = instance.stability
    return found


def categories_of(model: BaseSegmentor, prompts: PromptFile | None) -> list[dict]:
    """COCO's of the prompts, or the model's one class."""
    if prompts is not None and prompts.categories:
        return prompts.categories
    classes = (getattr(model, 'dataset_meta', None) or {}).get('classes') or ()
    return [dict(id=1, name=classes[1] if len(classes) > 1 else 'object')]


def together(files: list[tuple[int | None, Path]], categories: list[dict]) -> dict:
    """One COCO file of the images in several. Images keep the ids that they have."""
    images, annotations = [], []
    for number, (own, path) in enumerate(files, 1):
        content = json.loads(path.read_text())
        image_id = number if own is None else own
        images.append(dict(id=image_id, **content['image']))
        for one in content['annotations']:
            annotations.append(dict(id=len(annotations) + 1, image_id=image_id, **one))
    return dict(images=images, annotations=annotations, categories=categories)
