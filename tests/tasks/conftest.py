"""Outputs and labels of every kind, and values computed pixel by pixel."""

import numpy as np
import torch

from mmsam_peft.registry import TASKS

CONFIGS = dict(
    SemanticSegmentation=dict(num_classes=5),
    HumanParts={},
    Depth={},
    InverseDepth={},
    SurfaceNormals={},
    Saliency={},
    Edges={},
)
KINDS = list(CONFIGS)
PROTOCOLS = ['pooled', 'per_image']


def make(kind, **settings):
    return TASKS.build(dict(type=kind, name='it', **CONFIGS[kind], **settings))


def labels(task, H, W, rng, share=0.7):
    """(H, W, c), without a value at about 1 - ``share`` of the pixels."""
    holes = rng.random((H, W, 1)) > share
    if task.better.keys() >= {'PixAcc'}:
        return np.where(holes, 255, rng.integers(0, task.channels, (H, W, 1)))
    if task.label_channels == 3:
        normals = rng.normal(size=(H, W, 3))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        return np.where(holes, 0, normals).astype(np.float32)
    if 'AErr' in task.better:
        return np.where(
            holes, rng.choice([0, np.nan, np.inf], (H, W, 1)), rng.uniform(0.5, 4, (H, W, 1))
        ).astype(np.float32)
    return np.where(holes, 255, rng.random((H, W, 1)) < 0.3).astype(np.int64)


def batch(task, B=3, H=6, W=7, seed=0, dtype=torch.float64):
    """Output, label and validity as ``Task.loss`` takes them."""
    rng = np.random.default_rng(seed)
    arrays = [labels(task, H, W, rng) for _ in range(B)]
    output = torch.from_numpy(rng.normal(size=(B, task.channels, H, W)) * 2).to(dtype)
    label = torch.stack([torch.from_numpy(array).permute(2, 0, 1) for array in arrays])
    valid = torch.stack([torch.from_numpy(task.valid(array))[None] for array in arrays])
    return output, label, valid


def images(task, number=4, seed=0, share=0.7):
    """Prediction, label and validity as ``Task.measure`` takes them, of images of several sizes."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(number):
        H, W = 5 + 2 * i, 9 - i
        label = labels(task, H, W, rng, share)
        output = torch.from_numpy(rng.normal(size=(1, task.channels, H, W)).astype(np.float32))
        if 'AErr' in task.better:
            output = output.abs() * 2
        found.append(
            (task.predict(output)[0].numpy(), np.moveaxis(label, -1, 0), task.valid(label)[None])
        )
    return found


def pixels(task, scene):
    """The valid pixels of an image: pairs of float64 vectors, predicted and true."""
    prediction, label, valid = scene
    p, g = prediction.astype(np.float64), label.astype(np.float64)
    return [(p[:, y, x], g[:, y, x]) for y, x in zip(*np.nonzero(valid[0]), strict=True)]


def summarise(task, scenes, protocol):
    return task.summarise([task.measure(*scene) for scene in scenes], protocol)


def expected(task, scenes, protocol, score):
    """``score`` of all pixels together, or its mean over images that have any; ``score`` gives
    numbers or curves by metric."""
    lists = [pixels(task, scene) for scene in scenes]
    lists = [sum(lists, [])] if protocol == 'pooled' else [one for one in lists if one]
    scores = [score(one) for one in lists]
    return {
        metric: np.max(np.mean([one[metric] for one in scores], axis=0)) for metric in scores[0]
    }
