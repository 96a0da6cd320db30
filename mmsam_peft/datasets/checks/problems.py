"""What can be wrong with a data set, and how it is reported."""

from collections.abc import Mapping, Sequence

from mmengine.dataset import BaseDataset

FILES_LISTED = 5
LONGEST = 400
"""Characters of a line that come from files: names, and what decoders say."""

NO_IMAGE = 'names without an image'
NO_MASK = 'images without a mask'
ORPHAN_MASK = 'masks without an image'
AMBIGUOUS = 'names with several files'
BAD_IMAGE = 'unreadable images'
BAD_MASK = 'unreadable masks'
BAD_ANNOTATIONS = 'unusable annotations'
NO_ANNOTATED_IMAGE = 'annotated images that are not there'
ANNOTATED_TWICE = 'images that are annotated twice'
SIZES = 'masks of another size than their image'
VALUES = 'masks with values outside the classes'
ONE_CLASS = 'only one class is seen, or none'
ENCODINGS = 'masks stored unlike the others'
UNREAD_SETTING = 'mask_values without effect'
CLASSES = 'class count'
NO_LABEL = 'images without any label'
ORPHAN_LABEL = 'labels without an image'
BAD_LABEL = 'unreadable labels'
LABEL_SIZES = 'labels of another size than their image'
LABEL_VALUES = 'labels with values that their task does not have'
NOTHING_VALID = 'tasks without one valid pixel in all their labels'
TASKS = 'tasks that are others in the model'

EXPECTED_AND_DO = {
    NO_IMAGE: ('an image for every name of ann_file', 'correct the list or add the images'),
    NO_MASK: ('a mask of the same name for every image', 'add the masks, or remove the images'),
    ORPHAN_MASK: (
        'an image of the same name for every mask',
        'add the images, or remove the masks',
    ),
    AMBIGUOUS: (
        'one file for each name',
        'keep one of them, or narrow img_suffix / seg_map_suffix',
    ),
    BAD_IMAGE: (
        'complete image files, grey or colour of 8 bits, or as pixels in the config says',
        'replace, convert or remove them, or set pixels',
    ),
    BAD_MASK: (
        'complete mask files that mask_values describes',
        'replace them, or correct mask_values',
    ),
    BAD_ANNOTATIONS: (
        'outlines or masks of known categories, in the image as shown (EXIF rotation applied)',
        'correct them in the tool that they come from, and export them again',
    ),
    NO_ANNOTATED_IMAGE: (
        'an image file for everything that is annotated',
        'add the images, or name their folder with data_prefix.img_path, or a list of those to '
        'use with ann_file',
    ),
    ANNOTATED_TWICE: ('one entry for an image', 'keep one of them, and export again'),
    SIZES: (
        'width x height of the image as shown (EXIF rotation applied)',
        'export the masks again at that size',
    ),
    VALUES: (
        'class numbers 0 .. {last}, or {ignore} for ignored pixels',
        'correct the masks or the list of classes; {encoding}',
    ),
    ONE_CLASS: (
        'pixels of two classes at least',
        'correct the masks, or how they are read: {encoding}',
    ),
    ENCODINGS: (
        'the same in all masks: where others have 1 for the object, {ignore} means ignored',
        "store all masks as 0 and 1; or all as 0 and 255, with mask_values='binary255'",
    ),
    UNREAD_SETTING: (
        'a pipeline that reads masks as mask_values says',
        "put dict(type='LoadMask') in the place of dict(type='LoadAnnotations')",
    ),
    CLASSES: (
        'as many classes in the data as in the model',
        "correct metainfo.classes, or the head's num_classes",
    ),
    NO_LABEL: (
        'a label of the same name, of one task at least, for every image',
        'add labels, or remove the images',
    ),
    ORPHAN_LABEL: (
        'an image of the same name for every label',
        'add the images, or remove the labels',
    ),
    BAD_LABEL: ('complete files that hold such labels', 'replace or remove them'),
    LABEL_SIZES: ('width x height of the image', 'export the labels again at that size'),
    LABEL_VALUES: ('values of the task', 'correct the labels, or the task in tasks'),
    TASKS: (
        'tasks of one kind and number of channels in data set, model and metric',
        'correct tasks',
    ),
    NOTHING_VALID: (
        'valid labels of every task',
        'correct the labels, or leave the tasks out of tasks',
    ),
}

ENCODING = {
    'index': "masks stored as 0/255, or as grey JPEG, need mask_values='binary255', masks of 0 and "
    "anything else 'binary01'",
    'binary255': "mask_values='binary255' takes grey values from 128 for the object, 'binary01' "
    "anything but 0, 'index' the "
    'class numbers themselves',
    'annotations': 'metainfo.classes, categories and others say which objects are which class',
    'binary01': "mask_values='binary01' takes anything but 0 for the object, 'binary255' grey "
    "values from 128, 'index' the "
    'class numbers themselves',
}
"""What to say of how masks are read, by what is set."""


class DatasetError(ValueError):
    """A data set that cannot be trained on or evaluated."""


def report(dataset: BaseDataset, problems: Mapping[str, Sequence[str]]) -> str:
    """The section of one data set: each kind of problem, the first files that have it and what to
    do."""
    classes = ', '.join(
        f'{i} {name}' for i, name in enumerate(dataset.metainfo.get('classes') or ())
    )
    tasks = ''.join(
        f', task {task.name} ({type(task).__name__})' for task in getattr(dataset, 'tasks', ())
    )
    place = dataset.data_prefix.get('img_path')
    lines = [
        f'{type(dataset).__name__}, {len(dataset)} images of {place}{tasks}, classes: '
        f'{short(classes)}'
    ]
    for kind, got in problems.items():
        expected, do = EXPECTED_AND_DO[kind]
        lines.append(
            f'  {kind}: {len(got)}'
            if kind not in (ONE_CLASS, CLASSES, UNREAD_SETTING)
            else f'  {kind}'
        )
        lines += [f'    got       {short(line)}' for line in got[:FILES_LISTED]]
        if len(got) > FILES_LISTED:
            lines.append(f'              ... and {len(got) - FILES_LISTED} more')
        last = len(dataset.metainfo.get('classes') or ()) - 1
        lines.append(f'    expected  {expected.format(last=last, ignore=dataset.ignore_index)}')
        lines.append(f'    do        {do.format(encoding=encoding_advice(dataset))}')
    return '\n'.join(lines)


def encoding_advice(dataset: BaseDataset) -> str:
    values = getattr(dataset, 'mask_values', 'index')
    return (
        ENCODING[values] if isinstance(values, str) else 'the i-th colour of mask_values is class i'
    )


def reason(error: Exception) -> str:
    """What an error says, on one line of bounded length: some decoders' errors hold what they were
    given."""
    return short(' '.join(str(error).split())) or type(error).__name__


def short(text: str) -> str:
    """The text, or its beginning and end; what does not print becomes its code."""
    if len(text) > LONGEST:
        text = f'{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}'
    return ''.join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def size_text(shape: tuple[int, ...]) -> str:
    height, width, *channels = shape
    return ' x '.join(map(str, [width, height, *channels]))
