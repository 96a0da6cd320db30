"""Clicks and boxes without this package: an ONNX file that encodes images, and one that decodes
prompts, for programs that were made for segment-anything's own export."""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...finite import require_finite
from ..merging import require_writable
from ..objects.predictor import Predictor, require_prompts
from . import Exported, network_of
from .check import NEAR, OWN, TOLERANCE, TRIES, far, run_onnx
from .description import as_text, description
from .files import beside, put, write_int8, write_onnx
from .geometry import OUTSIDE, geometry_of
from .prompts import LONG_SIDE, ImageEncoder, PromptDecoder, prompts


def export_prompts(
    model: nn.Module,
    out: str | os.PathLike,
    preprocessing: str = 'inside',
    resize: str | None = None,
    int8: bool = False,
    weights: str | os.PathLike | None = None,
) -> dict[str, Exported]:
    """Writes a model with prompts as ``NAME_encoder.onnx`` and ``NAME_decoder.onnx`` of ``out``,
    NAME.onnx, and compares them with the model before they are there. Returns what was written, by
    path.

    Args:
        model, weights: See ``export_model``.
        preprocessing, resize, int8: The encoder's, see ``export_model``; it takes a single image,
            inside as float32 (H, W, 3) of 0 to 255.

    Raises:
        ImportError, OSError: See ``export_model``.
        ValueError: Another ending; the model has no prompts; a pipeline after which the places in
            an image are not known; the files would answer something else than the model.
    """
    out = Path(out)
    if out.suffix != '.onnx':
        raise ValueError(f'{out}: files for prompts are ONNX, and the name has to end in .onnx.')
    require_prompts(model)
    if unfit := geometry_of(model).unfit:
        raise ValueError(f'--prompts: {unfit.removesuffix(OUTSIDE)}Use one that stretches or pads.')
    paths = [out.with_name(f'{out.stem}_{part}.onnx') for part in ('encoder', 'decoder')]
    for path in paths:
        require_writable(path, [weights, getattr(model, 'checkpoint', None)])
    require_finite(model.state_dict(), f'The model for {out}', 'Use an earlier adapter.')
    encoder, merged = network_of(model, None, preprocessing, resize, ImageEncoder)
    decoder = PromptDecoder(encoder).eval()
    about = description(encoder, model, weights, merged, int8)
    parts = dict(encoder=encoder, decoder=decoder)
    said = {
        path: {**about, 'part': part, 'outputs': list(network.names), 'long_side': LONG_SIDE}
        for path, (part, network) in zip(paths, parts.items(), strict=True)
    }
    said[paths[1]]['int8'] = False
    with beside(out) as folder:
        made = [folder / path.name for path in paths]
        for network, place, text in zip((encoder, decoder), made, said.values(), strict=True):
            write_onnx(network, as_text(text), folder, place.name)
        check, check8 = verify(made, encoder, decoder, model), None
        if int8:
            write_int8(folder, made[0].name)
            check8 = verify(made, encoder, decoder, model, exact=False)
        sizes = [sum(one.stat().st_size for one in folder.glob(f'{path.name}*')) for path in paths]
        for path in paths:
            put(folder, path)
    return {
        str(path): Exported(said[path], check, check8, size)
        for path, size in zip(paths, sizes, strict=True)
    }


@torch.no_grad()
def verify(
    paths: list[Path],
    encoder: ImageEncoder,
    decoder: PromptDecoder,
    model: nn.Module,
    exact: bool = True,
) -> dict | None:
    """As ``check.verify``, of both files: ``difference`` of their numbers; ``own``, the share of
    numbers that a ``Predictor`` gives, where the encoder reads whole images. None where nothing can
    run the files."""
    for seed in range(TRIES):
        image = encoder.one(seed)
        seen = run_onnx(paths[0], dict(zip(encoder.inputs, [image.numpy()], strict=True)))
        if seen is None:
            return None
        maps = encoder(image)
        differences = [far(a, b.numpy()).max() for a, b in zip(seen, maps, strict=True)]
        for number, points in enumerate((1, 5)):
            given = prompts(points, (50 + 40 * number, 70), decoder.places, number)
            its = decoded(paths[1], decoder, [one.numpy() for one in maps], given)
            pairs = zip(its, decoder(maps, *given), strict=True)
            differences += [far(a, b.numpy()).max() for a, b in pairs]
        own = None
        if encoder.preprocessing and encoder.resize:
            own = _own(paths[1], decoder, seen, model, image.byte().numpy())
        found = dict(difference=float(max(differences)), own=own)
        right = found['difference'] <= TOLERANCE and (own is None or own >= OWN)
        if np.isfinite(found['difference']) and (right or not exact):
            return found
    raise ValueError(
        f'The exported files do not answer as the model does: numbers differ by '
        f'{found["difference"]:.1e} of the largest (at most {TOLERANCE:.0e} is rounding)'
        + ('' if own is None else f', and {own:.2%} are those that the model gives by itself')
        + '. They were not written. Other versions of torch, onnxscript and onnxruntime may do.'
    )


def decoded(
    path: Path, decoder: PromptDecoder, maps: list[np.ndarray], given: list[Tensor]
) -> list[np.ndarray]:
    """What a file makes of the encoder's maps and of prompts."""
    values = [*maps, *(one.numpy() for one in given)]
    return run_onnx(path, dict(zip(decoder.inputs, values, strict=True))) or []


def _own(
    path: Path,
    decoder: PromptDecoder,
    maps: list[np.ndarray],
    model: nn.Module,
    image: np.ndarray,
) -> float:
    """The share of a file's logits of an image (H, W, 3) that are those of a ``Predictor``."""
    predictor = Predictor(model)
    predictor.set_image(image)
    size = image.shape[:2]
    coords, labels, *others = prompts(5, size, decoder.places)
    more = (0, int(decoder.head.fine))  # SAM 2 has a point of none after a box too
    given = [F.pad(coords, (0, 0, *more)), F.pad(labels, more, value=-1), *others]
    masks = decoded(path, decoder, maps, given)[0][0]
    places = coords[0].numpy() * max(size) / LONG_SIDE
    ours = [
        predictor.predict(
            places[:3], labels[0, :3].numpy(), places[3:].ravel(), None, several, True
        )[0]
        for several in (False, True)
    ]
    return float((far(masks, np.concatenate(ours)) < NEAR).mean())
