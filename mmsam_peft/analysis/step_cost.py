"""What a training step of the encoder costs: time, memory, operations, of candidates measured in
turn in one process."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils.flop_counter import FlopCounterMode

from ..peft import count_parameters
from ..whole_files import write_whole
from .candidates import build_candidate, run
from .machine import clock, median_and_range, peak, write_measured
from .operations import ATTENTION

DTYPES = ('float32', 'bfloat16', 'float16')


@dataclass(frozen=True)
class Setting:
    """What all candidates have in common. ``dtype`` is autocast's, or float32 without; ``size`` the
    side of the image. With ``inference``, a step is a forward pass in evaluation mode, without
    gradients."""

    arch: str
    size: int
    batch: int
    dtype: str
    device: str
    inference: bool = False

    def __str__(self) -> str:
        size = f'{self.size} x {self.size}'
        what = f'{self.arch}, {size}, batch {self.batch}, {self.dtype}, {self.device}'
        return f'{what}, inference' if self.inference else what

    def image(self) -> Tensor:
        return torch.randn(self.batch, 3, self.size, self.size, device=self.device)

    def autocast(self) -> torch.autocast:
        return torch.autocast(
            torch.device(self.device).type,
            getattr(torch, self.dtype),
            enabled=self.dtype != 'float32',
        )

    def encoder(self, candidate: str) -> nn.Module:
        torch.manual_seed(0)
        return build_candidate(candidate, self.arch, self.size).train(not self.inference)


def benchmark(
    candidates: Sequence[str],
    settings: Sequence[Setting],
    rounds: int,
    file: Path,
    report: Callable[[str], None] = print,
) -> str:
    """Measures every candidate in every setting and writes ``file``, JSON, and beside it the
    Markdown table it returns.

    Args:
        candidates: As ``build_candidate`` takes them; ratios are to the first.
        rounds: Timed steps of each, in turn. 0: nothing is computed; operations and what autograd
            keeps are counted, which works for any size on any machine.
        file: Written anew after each setting.
        report: Is told what has been done.

    Raises:
        ValueError: A candidate that is unknown or asked for twice, a device that is not there.
            Nothing has been measured then.
    """
    if len(set(candidates)) < len(candidates):
        raise ValueError(f'got {" ".join(candidates)}, expected each candidate once.')
    for setting in settings:
        if setting.device != 'cpu' and not torch.cuda.is_available():
            raise ValueError(
                f'device={setting.device!r}: no GPU is available to PyTorch here. Use --device cpu.'
            )
        with torch.device('meta'):
            for candidate in candidates:
                setting.encoder(candidate)
    rows = []
    for number, setting in enumerate(settings):
        report(f'{number + 1} of {len(settings)}: {setting}')
        costs = {}
        for candidate in candidates:
            counted = counts(candidate, setting, rounds > 0)
            memory = (
                in_fresh_process(peak_of, candidate, setting)
                if rounds and 'error' not in counted
                else {}
            )
            costs[candidate] = {**counted, **memory}
            report(f'  {candidate}: {costs[candidate].get("error", "counted")}')
        able = [candidate for candidate in candidates if 'error' not in costs[candidate]]
        times = time_in_turn(able, setting, rounds, report) if rounds and able else {}
        rows += [
            dict(
                candidate=candidate,
                **asdict(setting),
                **costs[candidate],
                **times.get(candidate, {}),
            )
            for candidate in candidates
        ]
        write_measured(file, setting.device, rows)
        write_whole(file.with_suffix('.md'), table(rows).encode())
    return table(rows)


def counts(candidate: str, setting: Setting, may_compute: bool) -> dict[str, int]:
    """As :func:`count`, of a step without content. Of a computed one, if it may be, where that
    cannot be, and on a GPU, where it takes no time."""
    if may_compute and setting.device != 'cpu':
        return in_fresh_process(count, candidate, setting, False)
    try:
        return count(candidate, setting, True)
    except ValueError:
        if not may_compute:
            raise
        return in_fresh_process(count, candidate, setting, False)


def count(candidate: str, setting: Setting, fake: bool) -> dict[str, int]:
    """Operations and bytes of one step, of tensors with or, where ``fake``, without content.

    Returns:
        trained: parameters; flops: of a step, multiplications and additions; kept: bytes that
            autograd keeps for the backward
        pass, weights not counted.

    Raises:
        ValueError: The candidate looks at values to choose what to do, and there are none.
    """
    with torch.device('meta') if fake else nullcontext():
        encoder = setting.encoder(candidate)
    with FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext():
        (encoder.to_empty if fake else encoder.to)(device=setting.device)
        image, optimizer = setting.image(), _optimizer(encoder)
        try:
            with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
                with bytes_kept(*encoder.parameters()) as kept, setting.autocast():
                    with torch.set_grad_enabled(not setting.inference):
                        loss = run(encoder, image)
                if not setting.inference:
                    loss.backward()
                    optimizer.step()
        except (DataDependentOutputException, DynamicOutputShapeException):
            raise ValueError(
                f'{candidate} looks at values to choose what to do, so it must be computed to be '
                'counted: use '
                '--rounds 1 or more, or leave it out.'
            ) from None
    return dict(
        trained=count_parameters(encoder)[0],
        flops=counter.get_total_flops(),
        kept=sum(kept.values()),
    )


@contextmanager
def bytes_kept(*known: Tensor) -> Iterator[dict[int, int]]:
    """Bytes that autograd keeps for the backward pass of what is computed here, by storage; those
    of ``known`` do not count."""
    kept, own = {}, {tensor.untyped_storage()._cdata for tensor in known}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def peak_of(candidate: str, setting: Setting) -> dict[str, int]:
    """peak: the most bytes of a step above what was held before it. To be called in a fresh
    process, whose peak is then its own."""
    encoder, image = setting.encoder(candidate).to(setting.device), setting.image()
    optimizer, before = _optimizer(encoder), peak(setting.device, fresh=True)
    step(encoder, optimizer, image, setting)
    return dict(peak=peak(setting.device) - before)


def time_in_turn(
    candidates: Sequence[str], setting: Setting, rounds: int, report: Callable[[str], None]
) -> dict[str, dict]:
    """Times of one step of every candidate after the other, ``rounds`` times after one that does
    not count.

    Returns:
        For each candidate: seconds of forward, backward, optimizer and step, medians;
            images_per_second; ratio, of a round's
        step to that of the first candidate in the same round: median, least and greatest; rounds:
            all seconds.
    """
    encoders, frozen = {}, {}
    for candidate in candidates:
        encoder = encoders[candidate] = setting.encoder(candidate).to(setting.device)
        for name, parameter in encoder.named_parameters():
            if not parameter.requires_grad:
                parameter.data = frozen.setdefault(name, parameter.data)  # in memory once
    optimizers = {candidate: _optimizer(encoder) for candidate, encoder in encoders.items()}
    image, seconds = setting.image(), {candidate: [] for candidate in candidates}
    for number in range(rounds + 1):
        for candidate, encoder in encoders.items():
            seconds[candidate].append(step(encoder, optimizers[candidate], image, setting))
        report(f'  round {number} of {rounds}' if number else '  warm')
    first = [sum(one) for one in seconds[candidates[0]]]
    return {
        candidate: _summary(every[1:], first[1:], setting.batch)
        for candidate, every in seconds.items()
    }


def step(
    encoder: nn.Module, optimizer: torch.optim.Optimizer, image: Tensor, setting: Setting
) -> tuple[float, float, float]:
    """Seconds of forward, backward and optimizer; the last two are 0 at inference."""
    marks = [clock(setting.device)]
    with setting.autocast(), torch.set_grad_enabled(not setting.inference):
        loss = run(encoder, image)
    marks.append(clock(setting.device))
    if setting.inference:
        return marks[1] - marks[0], 0.0, 0.0
    loss.backward()
    marks.append(clock(setting.device))
    optimizer.step()
    optimizer.zero_grad()
    marks.append(clock(setting.device))
    forward, backward, update = (end - start for start, end in zip(marks, marks[1:], strict=False))
    return forward, backward, update


def in_fresh_process(function: Callable[..., dict], *arguments) -> dict:
    """What ``function`` returns in a fresh process; ``dict(error=...)`` where memory did not
    suffice."""
    # MMEngine asks for GPUs when it is imported, and a process forked after that cannot use them
    context = get_context('spawn' if torch.cuda.is_available() else 'forkserver')
    context.set_forkserver_preload([__name__])
    try:
        with ProcessPoolExecutor(1, context) as pool:
            return pool.submit(function, *arguments).result()
    except torch.OutOfMemoryError:
        return dict(error='out of memory')
    except BrokenProcessPool:
        return dict(error='killed, most likely for its memory')


def table(rows: Sequence[dict]) -> str:
    """Markdown, a table for each setting."""
    parts = []
    for setting in dict.fromkeys(
        Setting(*(row[name] for name in Setting.__annotations__)) for row in rows
    ):
        same = [row for row in rows if {**row, **asdict(setting)} == row]
        timed = any('ratio' in row for row in same)
        names = ['candidate', 'trained', 'GFLOP', 'kept, MB', 'peak, MB'] + [
            'forward, ms',
            'backward, ms',
            'optimizer, ms',
            'images/s',
            'ratio',
        ] * timed
        lines = [f'| {" | ".join(names)} |', f'|---|{"---:|" * (len(names) - 1)}']
        lines += [f'| {" | ".join(_cells(row, timed))} |' for row in same]
        parts.append(f'{setting}\n\n' + '\n'.join(lines) + '\n')
    return '\n'.join(parts)


def _cells(row: dict, timed: bool) -> list[str]:
    if 'flops' not in row:
        return [f'`{row["candidate"]}`', row['error']] + [''] * (8 if timed else 3)
    cells = [
        f'`{row["candidate"]}`',
        f'{row["trained"]:,}',
        f'{row["flops"] / 1e9:,.1f}',
        f'{row["kept"] / 1e6:,.0f}',
        f'{row["peak"] / 1e6:,.0f}' if 'peak' in row else row.get('error', ''),
    ]
    if timed and 'ratio' not in row:
        return cells + [''] * 5
    if timed:
        cells += [f'{1e3 * row[part]:,.1f}' for part in ('forward', 'backward', 'optimizer')]
        cells += [
            f'{row["images_per_second"]:.3g}',
            '{:.3f} ({:.3f} to {:.3f})'.format(*row['ratio']),
        ]
    return cells


def _summary(seconds: Sequence[tuple], first: Sequence[float], batch: int) -> dict:
    steps = [sum(one) for one in seconds]
    ratios = [one / other for one, other in zip(steps, first, strict=True)]
    parts = dict(
        zip(
            ('forward', 'backward', 'optimizer'),
            map(median, zip(*seconds, strict=True)),
            strict=True,
        )
    )
    return dict(
        **parts,
        step=median(steps),
        images_per_second=batch / median(steps),
        ratio=median_and_range(ratios),
        rounds=seconds,
    )


def _optimizer(encoder: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    )
