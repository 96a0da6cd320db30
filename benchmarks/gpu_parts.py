"""The parts of gpu.py, each a function from a :class:`Run` to what it found."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from mmsam_peft.analysis.candidates import run
from mmsam_peft.analysis.fit import GPU_OVERHEAD
from mmsam_peft.analysis.machine import clock, median_and_range, peak
from mmsam_peft.analysis.step_cost import (
    Setting,
    in_fresh_process,
    peak_of,
    step,
    time_in_turn,
)
from mmsam_peft.analysis.suite.cells import Cells, Data
from mmsam_peft.layers import attention
from mmsam_peft.registry import MODELS, PEFT, SCOPE

ROOT = Path(__file__).parents[1]
SMALL_CARD = 4e9 - GPU_OVERHEAD
"""Bytes for tensors that a card of 4 GB has, beside CUDA's context."""
SMALL = dict(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), out_channels=16)
PEERS = ('LoRA', 'ConvLoRA', 'sam:LoRA', 'hf:LoRA')
HALVES = ('bfloat16', 'float16')
FORMS = ('eager', 'bias', 'concat', 'chunked')


@dataclass(frozen=True)
class Run:
    """On what, how large and how often."""

    device: str
    tiny: bool
    rounds: int
    data: Path | None = None

    def setting(self, arch: str, inference: bool = False, batch: int = 1) -> Setting:
        arch, size = ('tiny', 64) if self.tiny else (arch, 1024)
        return Setting(arch, size, batch, 'bfloat16', self.device, inference)

    @property
    def methods(self) -> Sequence[str]:
        return ('ConvLoRA', 'LoRA', 'VPT') if self.tiny else sorted(PEFT.module_dict)

    @property
    def archs(self) -> Sequence[str]:
        return ('tiny',) if self.tiny else ('base', 'large', 'huge')


PARTS: dict[str, Callable[[Run], dict]] = {}


def part(function: Callable[[Run], dict]) -> Callable[[Run], dict]:
    PARTS[function.__name__] = function
    return function


def silent(_: str) -> None:
    pass


def distance(got: Tensor, exact: Tensor) -> float:
    got, exact = got.detach().double(), exact.detach().double()
    return float((got - exact).norm() / exact.norm())


def attempt(function: Callable, *args) -> object:
    """What the function returns, or its error in words: one form that a device cannot do leaves the
    others their turn."""
    try:
        return function(*args)
    except Exception as error:
        return dict(error=f'{type(error).__name__}: {str(error)[:200]}')


@part
def correctness(run_: Run) -> dict:
    """Relative errors in half precision: of each form of attention with its gradients, of each
    method's map, against float32 on the same device."""
    size = 64 if run_.tiny else 512
    forms = {
        f'{form}, {half}': attempt(form_error, run_, form, half)
        for form in FORMS
        for half in HALVES
    }
    methods = {}
    images = torch.randn(1, 3, size, size, device=run_.device)
    for name in run_.methods:
        for half in HALVES:
            methods[f'{name}, {half}'] = attempt(method_error, name, half, size, images)
    return dict(forms=forms, methods=methods)


def form_error(run_: Run, form: str, half: str) -> float:
    """The greatest of output and gradients."""
    side = 6 if run_.tiny else 32
    torch.manual_seed(0)
    rows = side * side
    inputs = [torch.randn(2, 2, rows, 32, device=run_.device) for _ in range(3)]
    inputs += [torch.randn(2, 2, rows, side, device=run_.device) for _ in range(2)]
    rounded = [x.to(getattr(torch, half)) for x in inputs]
    results = []
    for precision, function in (
        (getattr(torch, half), getattr(attention, f'{form}_attention')),
        (torch.float32, attention.eager_attention),
    ):
        leaves = [x.detach().to(precision).requires_grad_() for x in rounded]
        y = function(*leaves, 32**-0.5)
        results.append([y, *torch.autograd.grad(y, leaves, torch.ones_like(y).cumsum(-1) / 32)])
    return max(distance(got, exact) for got, exact in zip(*results, strict=True))


def method_error(name: str, half: str, size: int, images: Tensor) -> float:
    torch.manual_seed(0)
    encoder = MODELS.build(dict(type='SAMViT', arch=SMALL, img_size=size, peft=dict(type=name)))
    for key, parameter in encoder.named_parameters():
        if key in encoder.peft.added and parameter.dim() > 1:
            parameter.data += 0.002 * torch.randn_like(parameter)
    encoder = encoder.to(images.device).eval()
    with torch.no_grad():
        exact = encoder(images)[0]
        with torch.autocast(images.device.type, getattr(torch, half)):
            return distance(encoder(images)[0], exact)


@part
def synchronisation(run_: Run) -> dict:
    """Whether a training step of each method runs while every wait for the GPU is an error."""
    if run_.device == 'cpu':
        return dict(note='a CPU has nothing to wait for')
    found = {}
    for name in run_.methods:
        setting = Setting('tiny', 256, 2, 'bfloat16', run_.device)
        found[name] = attempt(waits, setting, name)
    return found


def waits(setting: Setting, name: str) -> str:
    encoder, image = setting.encoder(name).to(setting.device), setting.image()
    trained = [p for p in encoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)

    def one_step() -> None:
        with setting.autocast():
            loss = run(encoder, image)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    one_step()  # tables and the optimizer's state are made in the first
    torch.cuda.set_sync_debug_mode('error')
    try:
        one_step()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return 'no wait'


@part
def four_gigabytes(run_: Run) -> dict:
    """Two steps of ViT-H at 1024 x 1024, batch 1, in a process whose tensors may have what a card
    of 4 GB has for them."""
    return {
        f'{name}, {base_dtype}': attempt(in_fresh_process, limited, name, base_dtype, run_)
        for name in ('LoRA', 'ConvLoRA')
        for base_dtype in ('float32', 'bfloat16')
    }


def limited(name: str, base_dtype: str, run_: Run) -> dict:
    setting = run_.setting('huge')
    torch.manual_seed(0)
    encoder: nn.Module = MODELS.build(
        dict(
            type='SAMViT',
            arch=setting.arch,
            img_size=setting.size,
            peft=dict(type=name),
            unfreeze=['neck'],
            checkpointing=True,
            base_dtype=base_dtype,
        )
    )
    if run_.device != 'cpu':
        total = torch.cuda.get_device_properties(run_.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, SMALL_CARD / total))
    before = 0 if run_.device != 'cpu' else peak('cpu')
    encoder = encoder.to(run_.device)
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad])
    for _ in range(2):
        step(encoder, optimizer, setting.image(), setting)
    return dict(peak=peak(run_.device) - before)


def compared(run_: Run, candidates: Sequence[str], setting: Setting) -> dict:
    """Times in turn, and peaks, of the candidates that can be had and have enough memory."""
    costs = {name: attempt(in_fresh_process, peak_of, name, setting) for name in candidates}
    able = [name for name in candidates if 'error' not in costs[name]]
    times = attempt(time_in_turn, able, setting, run_.rounds, silent) if able else {}
    if 'error' in times:  # together they may need more than one by one
        return {name: {**costs[name], **times} for name in candidates}
    return {name: {**costs[name], **times.get(name, {})} for name in candidates}


@part
def conv_lora(run_: Run) -> dict:
    """Conv-LoRA's step beside LoRA's."""
    return compared(run_, ('LoRA', 'ConvLoRA'), run_.setting('base'))


def peers(arch: str, inference: bool) -> Callable[[Run], dict]:
    def against(run_: Run) -> dict:
        if arch not in run_.archs and not (run_.tiny and arch == 'base'):
            return dict(note='left out where all is tiny')
        return compared(run_, PEERS, run_.setting(arch, inference))

    against.__name__ = f'{"inference" if inference else "training"}_{arch}'
    return against


for _inference in (False, True):
    for _arch in ('base', 'large', 'huge'):
        part(peers(_arch, _inference))


def flex_attention() -> Callable[..., Tensor]:
    """Compiled, with the position terms as a change of the logits."""
    from torch.nn.attention.flex_attention import flex_attention as flex

    compiled = torch.compile(flex, dynamic=False)

    def form(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
        W = rel_w.shape[-1]

        def positioned(score, b, h, query, key):
            return score + rel_h[b, h, query, key // W] + rel_w[b, h, query, key % W]

        return compiled(q, k, v, score_mod=positioned, scale=scale)

    return form


@part
def attention_forms(run_: Run) -> dict:
    """Seconds of each form, without and with gradients, for the windows and the map of ViT-B at
    1024 x 1024."""
    shapes = {'windows': (25, 14, 12), 'map': (1, 64, 12)}
    if run_.tiny:
        shapes = {'windows': (2, 4, 2), 'map': (1, 8, 2)}
    forms = {form: getattr(attention, f'{form}_attention') for form in FORMS}
    if run_.device == 'cpu':
        dtype = torch.float32
    else:
        dtype, forms['flex'] = torch.bfloat16, flex_attention()
    return {
        f'{name}, {form}': attempt(form_seconds, run_, function, shape, dtype)
        for name, shape in shapes.items()
        for form, function in forms.items()
    }


def form_seconds(
    run_: Run, form: Callable[..., Tensor], shape: tuple[int, int, int], dtype: torch.dtype
) -> dict[str, list[float]]:
    maps, side, heads = shape
    like = dict(dtype=dtype, device=run_.device, requires_grad=True)
    rows = side * side
    inputs = [torch.randn(maps, heads, rows, 64, **like) for _ in range(3)]
    inputs += [torch.randn(maps, heads, rows, side, **like) for _ in range(2)]
    forward, both = [], []
    for _ in range(run_.rounds + 1):
        start = clock(run_.device)
        with torch.no_grad():
            form(*inputs, 0.125)
        middle = clock(run_.device)
        form(*inputs, 0.125).float().sum().backward()
        forward.append(middle - start)
        both.append(clock(run_.device) - middle)
    return dict(forward=median_and_range(forward[1:]), both=median_and_range(both[1:]))


@part
def compiled(run_: Run) -> dict:
    """A step with compiled blocks beside one with blocks as they are, and the first one's
    seconds."""
    torch.compiler.reset()
    setting = run_.setting('base')
    plain, other = (setting.encoder('LoRA').to(setting.device) for _ in range(2))
    for block in other.blocks:
        block.compile(dynamic=False, backend='aot_eager' if run_.tiny else 'inductor')
    image, ratios = setting.image(), []
    optimizers = [
        torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad])
        for encoder in (plain, other)
    ]
    first = sum(step(other, optimizers[1], image, setting))
    step(plain, optimizers[0], image, setting)
    for _ in range(run_.rounds):
        seconds = [
            sum(step(encoder, optimizer, image, setting))
            for encoder, optimizer in zip((plain, other), optimizers, strict=True)
        ]
        ratios.append(seconds[1] / seconds[0])
    return dict(first=first, ratio=median_and_range(ratios))


@part
def images_per_second(run_: Run) -> dict:
    """At inference, in bfloat16, as blocks are and compiled, batches as large as help."""
    found = {}
    for arch in ('tiny',) if run_.tiny else ('base', 'huge'):
        for batch in (1, 2) if run_.tiny else (1, 8, 32):
            for is_compiled in (False, True):
                name = f'{arch}, batch {batch}{", compiled" * is_compiled}'
                found[name] = attempt(rate, run_, arch, batch, is_compiled)
    return found


def rate(run_: Run, arch: str, batch: int, is_compiled: bool) -> float:
    torch.compiler.reset()  # beyond its limit of graphs PyTorch would go on without compiling
    setting = run_.setting(arch, inference=True, batch=batch)
    encoder, image = setting.encoder('LoRA').to(setting.device), setting.image()
    encoder.peft.merge(encoder)
    if is_compiled:
        for block in encoder.blocks:
            block.compile(dynamic=False, backend='aot_eager' if run_.tiny else 'inductor')
    seconds = [step(encoder, None, image, setting)[0] for _ in range(run_.rounds + 2)][2:]
    return batch / median_and_range(seconds)[0]


@part
def training_with_amp(run_: Run) -> dict:
    """The losses of 200 iterations of a whole model under autocast, none of them NaN: of the
    quickstart on drawn images, or of configs/convlora/custom.py on those of ``data``."""
    iterations, drawn = (2 if run_.tiny else 200), run_.data is None
    init_default_scope(SCOPE)
    config = ROOT / f'configs/convlora/{"quickstart" if drawn else "custom"}.py'
    with tempfile.TemporaryDirectory() as folder:
        options = {'train_dataloader.dataset.data_root': folder if drawn else str(run_.data)}
        if drawn:
            options['train_dataloader.dataset.num_images'] = 4 if run_.tiny else 64
        cfg = Cells(ROOT / 'configs', options).config('ConvLoRA', Data('', str(config)))
        workers = dict(num_workers=0, persistent_workers=False)
        loader = Runner.build_dataloader({**cfg.train_dataloader, **workers})
        model = MODELS.build(cfg.model)
        model.init_weights()
        model = model.to(run_.device).train()
        dtype = 'bfloat16' if run_.device == 'cpu' else 'float16'
        kind = 'AutocastOptimWrapper' if run_.device == 'cpu' else 'AmpOptimWrapper'
        wrapper = {**cfg.optim_wrapper, 'type': kind}
        optimizer, losses = build_optim_wrapper(model, wrapper), []
        while len(losses) < iterations:
            for batch in loader:
                losses.append(model.train_step(batch, optimizer)['loss'].item())
                if not math.isfinite(losses[-1]):
                    raise RuntimeError(f'iteration {len(losses)}: the loss is {losses[-1]}')
                if len(losses) == iterations:
                    break
    return dict(iterations=iterations, dtype=dtype, first=losses[0], last=losses[-1])
