"""What the names of files and folders say: image or mask, which part of a split, which belong
together."""

import re
from pathlib import PurePosixPath

IMAGE_WORDS = frozenset(
    'im image images img imgs input inputs jpegimages ome photo photos pic raw rgb sat '
    'imgdir imagedir'.split()
)
MASK_WORDS = frozenset(
    'ann annot annots annotation annotations anndir anno gt gts gtfine groundtruth l label labels '
    'labelids labelled manual mask maskdir masks matte msk ome seg segmentation segmentationclass '
    'segmentations segs target targets truth'.split()
)
SPLIT_WORDS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
    'testing': 'test',
}
SPLITS = ('train', 'val', 'test')
GLUED = re.compile(rf'({"|".join(SPLIT_WORDS)})({"|".join(sorted(IMAGE_WORDS | MASK_WORDS))})')


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, without its separators: 'train_Label01' is train, label,
    01."""
    return re.findall(r'[a-z]+|\d+', name.lower().replace('leftimg8bit', 'image'))


def words_of_folder(name: str) -> list[str]:
    """As ``words_of``, with the words together that are one: 'img_dir' is imgdir, 'trainannot' is
    train, annot."""
    whole = ''.join(words_of(name))
    if whole in IMAGE_WORDS | MASK_WORDS:
        return [whole]
    glued = GLUED.fullmatch(whole)
    return list(glued.groups()) if glued else words_of(name)


def role_of(file: str) -> str | None:
    """'image' or 'mask', if a folder of the path, the innermost first, says so."""
    for folder in reversed(PurePosixPath(file).parts[:-1]):
        words = words_of_folder(folder)
        if any(word in MASK_WORDS for word in words):
            return 'mask'
        if any(word in IMAGE_WORDS for word in words):
            return 'image'
    return None


def names_a_mask(stem: str) -> bool:
    """Whether the first or the last word of a file's name is one for masks: 'a_mask', 'Label1'."""
    words = [word for word in words_of(stem) if not word.isdigit()]
    return bool(words) and (words[0] in MASK_WORDS - {'ome'} or words[-1] in MASK_WORDS - {'ome'})


def split_of(file: str) -> str | None:
    """'train', 'val' or 'test', if a folder of the path says so."""
    for folder in PurePosixPath(file).parts[:-1]:
        for word in words_of_folder(folder):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return None


def same_place(file: str) -> str:
    """What image and mask of the same file name have in common: the path without suffix and without
    the words of folders that say what is in them."""
    path = PurePosixPath(file)
    folders = [
        '_'.join(
            SPLIT_WORDS.get(word, word)
            for word in words_of_folder(folder)
            if word not in IMAGE_WORDS | MASK_WORDS
        )
        for folder in path.parts[:-1]
    ]
    return '/'.join([*filter(None, folders), stem_of(path.name)])


def same_words(file: str, own: frozenset[str]) -> str:
    """As ``same_place``, without the words ``own`` in the file's name: 'img_01' and 'mask_01'."""
    place = PurePosixPath(same_place(file))
    words = [word for word in words_of(place.name) if word not in own and word not in SPLIT_WORDS]
    return '/'.join([*place.parts[:-1], '_'.join(words)])


def stem_of(name: str) -> str:
    """A file's name without its suffix, of which '.ome.tif' and '.nii.gz' are one each."""
    stem = name.rpartition('.')[0] or name
    return re.sub(r'\.(ome|nii)$', '', stem, flags=re.IGNORECASE)
