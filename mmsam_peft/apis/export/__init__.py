"""A model as one file that runs without this package: ONNX, or PyTorch's .pt2."""

import os
from pathlib import Path
from typing import NamedTuple

from torch import nn

from ...finite import require_finite
from ...models.segmentors import MultiTaskSegmentor, PEFTSegmentor
from ...peft.per_task import PerTaskMethod
from ..merging import merged_model, require_writable
from .check import verify
from .description import as_text, description
from .files import beside, put, write_int8, write_onnx, write_pt2
from .geometry import geometry_of, require_plain_images
from .network import Network

FORMATS = ('.onnx', '.pt2')
PLACES = ('inside', 'outside')


class Exported(NamedTuple):
    """
    Attributes:
        about: What the file says of itself, see ``description``.
        check: How far it is from the model, see ``verify``; None where nothing could run it.
        check8: The same of the file with weights of 8 bits.
        bytes: Of all its files.
    """

    about: dict
    check: dict | None
    check8: dict | None
    bytes: int


def export_model(
    model: nn.Module,
    out: str | os.PathLike,
    task: str | None = None,
    preprocessing: str = 'inside',
    resize: str | None = None,
    int8: bool = False,
    weights: str | os.PathLike | None = None,
) -> Exported:
    """Writes a model as ``out``, NAME.onnx or NAME.pt2, for any number of images at a time, and
    compares the file with the model before it is there.

    A method that merges fully is merged; any other is part of the file. A model with prompts
    answers without one. Float16 and bfloat16 weights stay as they are; the rest is float32.

    Args:
        model: As ``init_model`` makes it, on the CPU; it stays as it is.
        task: Of a multi-task model, the only one that is answered; by default all are.
        preprocessing: 'inside': images are uint8 (B, H, W, 3), RGB, and the file normalises them;
            'outside': they are float32 (B, C, H, W), normalised.
        resize: 'inside': images of any size, resized to the network's and the answers back to the
            image's; 'outside': images and answers have the network's size. By default inside,
            where the model does not slide windows.
        int8: Weights of linear layers in 8 bits (ONNX).
        weights: The adapter or checkpoint, to name it in the file.

    Raises:
        ImportError: The extra ``export`` is not installed.
        ValueError: Another ending; no such task; a pipeline that has no place in a file; something
            in the model cannot be traced; the file would answer something else than the model.
        OSError: ``out`` cannot be written; a file of this name stays as it was.
    """
    out = Path(out)
    if out.suffix not in FORMATS:
        raise ValueError(f'{out}: the name has to end in {" or ".join(FORMATS)}.')
    if out.is_dir():
        raise ValueError(f'{out} is a folder: give the name of a file.')
    if int8 and out.suffix != '.onnx':
        raise ValueError(f'{out}: weights of 8 bits are for .onnx, whose runtime makes them.')
    require_writable(out, [weights, getattr(model, 'checkpoint', None)])
    require_finite(model.state_dict(), f'The model for {out}', 'Use an earlier adapter.')
    network, merged = network_of(model, task, preprocessing, resize)
    about = description(network, model, weights, merged, int8)
    with beside(out) as folder:
        write = write_onnx if out.suffix == '.onnx' else write_pt2
        write(network, as_text(about), folder, out.name)
        check, check8 = verify(folder / out.name, network, model), None
        if int8:
            write_int8(folder, out.name)
            check8 = verify(folder / out.name, network, model, exact=False)
        size = sum(path.stat().st_size for path in folder.iterdir())
        put(folder, out)
    return Exported(about, check, check8, size)


def network_of(
    model: nn.Module,
    task: str | None,
    preprocessing: str,
    resize: str | None,
    kind: type[Network] = Network,
) -> tuple[Network, bool]:
    """What is exported of a model, and whether its method was merged."""
    for name, value in dict(preprocessing=preprocessing, resize=resize).items():
        if value not in PLACES and not (name == 'resize' and value is None):
            raise ValueError(f'{name}={value!r}: expected one of {", ".join(PLACES)}.')
    tasks = _tasks(model, task)
    geometry = geometry_of(model)
    inside = preprocessing == 'inside'
    resized = not geometry.windows if resize is None else resize == 'inside'
    if inside:
        require_plain_images(model)
    if resized and geometry.unfit:
        raise ValueError(f'--resize inside: {geometry.unfit}')
    plain = _merged(model, task)
    network = kind(model if plain is None else plain, geometry, tasks, inside, resized)
    return network.eval(), plain is not None


def _merged(model: nn.Module, task: str | None) -> nn.Module | None:
    """A plain model that answers the same; None where there is none."""
    if not isinstance(model, PEFTSegmentor):
        return None
    methods = [method for _, method in model.adapted.values()]
    several = isinstance(model.backbone.peft, PerTaskMethod) and model.backbone.peft.num_tasks > 1
    if any(method.merges != 'fully' for method in methods) or several and task is None:
        return None
    return merged_model(model, task)


def _tasks(model: nn.Module, task: str | None) -> list[str] | None:
    tasks: list[str] = [*model.tasks] if isinstance(model, MultiTaskSegmentor) else []
    if task is not None and task not in tasks:
        has = f'one of {", ".join(tasks)}' if tasks else 'none: the model has one task'
        raise ValueError(f'--task {task}: the model has no such task; give {has}.')
    return [task] if task else tasks or None
