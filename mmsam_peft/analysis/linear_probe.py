"""How much a frozen encoder knows about classes: logistic regression on its features.

Conv-LoRA's authors report 54.2 % for SAM's ViT-B on ImageNet-1K and 67.7 % for MAE's, from whose
weights SAM's began (published numbers).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..datasets.folder import IMAGE_SUFFIXES
from .encoders import Encoder
from .fourier import block_maps

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse strengths of the regularisation from which one is chosen."""
HELD_OUT = 0.2
"""The part of the training images by which it is chosen."""
BATCH = 16


@dataclass(frozen=True)
class Probed:
    """Of one encoder: the accuracy in percent on the images of ``val/``, how many there are, and
    the strength that was chosen."""

    name: str
    accuracy: float
    images: int
    width: int
    strength: float


@torch.no_grad()
def pooled_features(encoder: Encoder, paths: Sequence[Path], pooling: str = 'mean') -> np.ndarray:
    """A vector for each image, (N, C), float32.

    Args:
        pooling: 'mean' of the map after the last block, or the class 'token' after the last norm.

    Raises:
        ValueError: The encoder has no class token; its blocks give no maps.
    """
    if pooling == 'token' and not hasattr(encoder.module, 'cls_token'):
        raise ValueError(
            f"{encoder.name} has no class token: take pooling='mean', for all that are compared."
        )
    rows = []
    for start in range(0, len(paths), BATCH):
        batch = torch.cat([encoder.read(path) for path in paths[start : start + BATCH]])
        if pooling == 'token':
            rows.append(encoder.module(batch)[1])
        else:
            rows.append(block_maps(encoder.module, batch)[-1].mean((1, 2)))
    return torch.cat(rows).float().cpu().numpy()


def class_folders(root: str | Path) -> dict[str, tuple[list[Path], np.ndarray]]:
    """The images of ``root/train/CLASS/`` and ``root/val/CLASS/``, and their class numbers.

    Raises:
        FileNotFoundError: A folder or its images are missing.
        ValueError: The two have other classes; there is but one.
    """
    found, classes = {}, {}
    for split in ('train', 'val'):
        folder = Path(root, split)
        if not folder.is_dir():
            raise FileNotFoundError(
                f'There is no folder {folder}: expected {Path(root)}/train/CLASS/ and val/CLASS/, '
                'with the images of a class in its folder.'
            )
        names = sorted(one.name for one in folder.iterdir() if one.is_dir())
        images = [(number, path) for number, name in enumerate(names) for path in _in(folder, name)]
        empty = set(range(len(names))) - {number for number, _ in images}
        if empty or not names:
            where = folder / names[min(empty)] if empty else folder
            raise FileNotFoundError(f'No image in {where}: expected some of {IMAGE_SUFFIXES}.')
        classes[split] = names
        found[split] = [path for _, path in images], np.array([number for number, _ in images])
    if classes['train'] != classes['val'] or len(classes['train']) < 2:
        other = sorted(set(classes['train']) ^ set(classes['val']))
        raise ValueError(
            f'{root}: expected at least two classes, the same in train/ and val/; '
            f'{f"only one of them has {other[:3]}" if other else "got one"}.'
        )
    return found


def _in(folder: Path, name: str) -> Iterator[Path]:
    files = (folder / name).rglob('*')
    return iter(sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES))


def linear_probe(encoder: Encoder, root: str | Path, pooling: str = 'mean') -> Probed:
    """The accuracy of logistic regression on standardised features. Its strength is chosen on a
    fifth of the training images; ``val/`` is looked at once.

    Raises:
        FileNotFoundError, ValueError: As :func:`class_folders`, :func:`pooled_features`.
        ImportError: scikit-learn is not installed.
    """
    classifier = _scikit_learn()
    splits = class_folders(root)
    (train, y), (val, truth) = splits['train'], splits['val']
    x = pooled_features(encoder, train, pooling)
    strength, model = classifier(x, y)
    right = model.predict(pooled_features(encoder, val, pooling)) == truth
    return Probed(encoder.name, 100 * float(right.mean()), len(right), x.shape[1], strength)


def _scikit_learn() -> Callable:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import train_test_split
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError(
            "Linear probing needs scikit-learn: pip install -e '.[analysis]'"
        ) from error

    def fitted(x: np.ndarray, y: np.ndarray, strength: float):
        model = LogisticRegression(C=strength, max_iter=2000)
        return make_pipeline(StandardScaler(), model).fit(x, y)

    def best(x: np.ndarray, y: np.ndarray):
        """The strength that does best on held-out images, and the model of it for all."""
        if (fewest := np.bincount(y).min()) < 2:
            raise ValueError(f'A class has {fewest} training image, expected at least 2.')
        a, b, u, v = train_test_split(x, y, test_size=HELD_OUT, stratify=y, random_state=0)
        scores = [fitted(a, u, strength).score(b, v) for strength in STRENGTHS]
        strength = STRENGTHS[int(np.argmax(scores))]
        return strength, fitted(x, y, strength)

    return best
