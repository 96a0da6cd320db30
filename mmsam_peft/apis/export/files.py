"""Writing an exported network: ONNX, or PyTorch's own .pt2."""

import importlib
import logging
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...layers.attention import MapAttention
from ...whole_files import whole_file
from .description import KEY

EXTRA = "pip install -e '.[export]'"
LARGEST = 2**31 - 2**20
"""Bytes that an ONNX file holds, as protocol buffers do; weights beyond are in a file beside it."""
LEAST = 2**14
"""Numbers of a linear layer that is stored in 8 bits: smaller ones, such as Conv-LoRA's bottleneck
and gate, save nothing and decide much."""
LOGGERS = ('torch.onnx', 'onnxscript', 'onnx_ir')


def optional(name: str) -> Any:
    """A module of the extra. ImportError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'To write ONNX, {name.partition(".")[0]} has to be installed: {EXTRA}.'
        ) from error


def traced(network: nn.Module) -> torch.export.ExportedProgram:
    """A ``Network``, or another with its ``examples`` and ``axes``, as a graph of PyTorch's
    operators.

    Raises:
        ValueError: Something in it depends on values and cannot be one graph.
    """
    given = network.examples()
    try:
        with torch.no_grad():
            network(*given)  # what layers remember becomes constants
            program = torch.export.export(network, given, dynamic_shapes=network.axes, strict=False)
    except Exception as error:  # the tracer's own errors are of many kinds
        method = type(getattr(network.model.backbone, 'peft', None)).__name__
        raise ValueError(
            f'The model, a {type(network.model).__name__} with the method {method}, could not be '
            f'traced: {" ".join(str(error).split())[:600]}. Parts of your own must not branch on '
            'the values of tensors; methods that merge fully are merged before (--task, where the '
            'encoder is adapted for each task).'
        ) from error
    for node in program.graph.nodes:  # they name files of this machine
        node.meta.pop('stack_trace', None)
    return program


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """While it lasts, attention is computed by the formula as written, as every runtime can."""
    before = {
        module: module.attention for module in model.modules() if isinstance(module, MapAttention)
    }
    try:
        for module in before:
            module.attention = 'eager'
        yield
    finally:
        for module, form in before.items():
            module.attention = form


def write_pt2(network: nn.Module, text: str, folder: Path, name: str) -> None:
    torch.export.save(traced(network), folder / name, extra_files={f'{KEY}.json': text})


def write_onnx(network: nn.Module, text: str, folder: Path, name: str) -> None:
    """``folder/name``, and, where it would be too large, the weights in a file beside it."""
    ir = optional('onnx_ir')
    passes = optional('onnxscript.optimizer')
    with plain_attention(network.model), quiet():
        program = torch.onnx.export(
            traced(network),
            (),
            dynamo=True,
            input_names=list(network.inputs),
            output_names=list(network.names),
            optimize=False,  # its rewriting takes minutes, and runtimes do it themselves
            verbose=False,
        )
        model = program.model
        passes.inline(model)
        passes.fold_constants(model)  # weights as they are multiplied: what 8 bits are made of
        passes.remove_unused_nodes(model)
    for graph in (model.graph, *(one.graph for one in model.functions.values())):
        for node in graph:  # they name files of this machine
            node.metadata_props.clear()
            node.doc_string = None
    model.metadata_props.clear()
    model.metadata_props[KEY] = text
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    beside = f'{name}.{uuid.uuid4().hex[:8]}.data' if size > LARGEST else None
    ir.save(model, folder / name, external_data=beside)


def write_int8(folder: Path, name: str) -> None:
    """Replaces the file by one whose linear layers have weights of 8 bits, by ONNX Runtime's own
    tool.

    Weights are unsigned: with signed ones, processors without VNNI saturate sums.
    """
    tool = optional('onnxruntime.quantization')
    made, model = folder / f'int8-{name}', optional('onnx_ir').load(folder / name)
    small = [
        node.name
        for node in model.graph
        if max((one.const_value.size for one in node.inputs if one and one.const_value), default=0)
        < LEAST
    ]
    with quiet():
        tool.quantize_dynamic(
            folder / name,
            made,
            op_types_to_quantize=['MatMul', 'Gemm'],
            nodes_to_exclude=small,
            per_channel=True,
            weight_type=tool.QuantType.QUInt8,
        )
    for path in folder.glob(f'{name}*'):
        path.unlink()
    made.rename(folder / name)


@contextmanager
def quiet() -> Iterator[None]:
    """While it lasts, exporters do not warn of what is right here."""
    levels = {name: logging.getLogger(name).level for name in (*LOGGERS, '')}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A folder for unfinished files on the file system of ``out``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'{out.name}.unfinished-', dir=out.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put(folder: Path, out: Path) -> None:
    """Moves what was made in ``folder`` to ``out``: weights beside the file first, under a name
    that no earlier file refers to; the weights of an earlier file last."""
    made = list(folder.glob(f'{out.name}.*.data'))
    for path in [*made, folder / out.name]:
        with whole_file(out.with_name(path.name)) as unfinished:
            os.replace(path, unfinished)
    for stale in out.parent.glob(f'{out.name}.{"[0-9a-f]" * 8}.data'):
        if stale.name not in {path.name for path in made}:
            stale.unlink()
