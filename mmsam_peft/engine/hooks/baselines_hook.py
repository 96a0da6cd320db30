"""What a training has to beat."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from ...registry import HOOKS
from ...whole_files import write_whole
from ..random_state import random_state, set_random_state

FILE = 'baselines.json'
SURE = 20.0
"""The logit of the class that a constant prediction gives to every pixel."""


@HOOKS.register_module()
class BaselinesHook(Hook):
    """Scores what costs no training, on the validation images: the model before its first step, and
    one class everywhere, the better one of two classes or the most frequent of more.

    ``baselines.json`` in the work directory holds the scores, ``{"untuned": {METRIC: score},
    "constant": {METRIC: score}, "constant_class": NAME}``, null where one is not defined; models of
    several tasks have no constant prediction. When training has ended, a warning says so if its
    best is no better.

    Validation, checkpoints, random numbers and logs go on as without the hook.
    """

    priority = 'LOWEST'  # the model and its data are as training will have them

    def before_train(self, runner: Runner) -> None:
        if runner.iter or runner.val_loop is None:
            return
        state, training = random_state(), runner.model.training
        runner.model.eval()
        try:
            scores = self._measured(runner)
        finally:
            runner.model.train(training)
            set_random_state(state)
        if is_main_process():
            write_whole(Path(runner.work_dir) / FILE, json.dumps(scores, indent=1).encode())
            for name in ('untuned', 'constant'):
                if name in scores:
                    runner.logger.info(f'{name} on the validation images: {_listed(scores[name])}')

    def after_train(self, runner: Runner) -> None:
        path = Path(runner.work_dir) / FILE
        if not is_main_process() or not path.is_file():
            return
        scores, chosen_by = json.loads(path.read_text()), list(_chosen_by(runner))
        for metric, rule in chosen_by:
            key = 'best_score' + (f'_{metric}' if len(chosen_by) > 1 else '')
            best = runner.message_hub.get_info(key)
            if text := complaint(scores, metric, rule, best):
                runner.logger.warning(text)

    def _measured(self, runner: Runner) -> dict:
        loop = runner.val_loop
        images = len(loop.dataloader.dataset)
        classes = (loop.dataloader.dataset.metainfo or {}).get('classes', ())
        counts, channels = torch.zeros(256, dtype=torch.long), 0
        with torch.no_grad():
            for batch in loop.dataloader:
                outputs = runner.model.val_step(batch)
                loop.evaluator.process(data_samples=outputs, data_batch=batch)
                for sample in outputs:
                    if 'gt_sem_seg' in sample and 'seg_logits' in sample:
                        labels = sample.gt_sem_seg.data.cpu().flatten().clamp(0, 255)
                        counts += torch.bincount(labels, minlength=256)
                        channels = len(sample.seg_logits.data)
        scores = dict(untuned=_plain(loop.evaluator.evaluate(images)))
        if not channels or not classes:
            return scores
        all_reduce(counts)
        found = {}
        for number in (0, 1) if len(classes) == 2 else (int(counts[: len(classes)].argmax()),):
            for batch in loop.dataloader:
                samples = [constant(one, number, channels) for one in batch['data_samples']]
                loop.evaluator.process(data_samples=samples, data_batch=batch)
            found[number] = _plain(loop.evaluator.evaluate(images))
        metric, rule = next(_chosen_by(runner), (next(iter(scores['untuned'])), 'greater'))
        best = max(found, key=lambda number: _rank(rule, found[number].get(metric)))
        return dict(scores, constant=found[best], constant_class=classes[best])


def constant(sample: SegDataSample, number: int, channels: int) -> SegDataSample:
    """What is predicted for a sample with masks by saying class ``number`` at every pixel, with
    logits of so many channels; one channel is a probability."""
    same, mask = sample.clone(), sample.gt_sem_seg.data.reshape(1, *sample.gt_sem_seg.shape[-2:])
    same.pred_sem_seg = PixelData(data=torch.full_like(mask, number))
    logits = torch.full((channels, *mask.shape[1:]), float(number) if channels == 1 else -SURE)
    if channels > 1:
        logits[number] = SURE
    same.seg_logits = PixelData(data=logits)
    return same


def complaint(scores: dict, metric: str, rule: str, best: float | None) -> str | None:
    """What to tell a user whose training is no better than what costs none; None: it is."""
    names = dict(
        untuned='the model before training',
        constant=f'calling everything {scores.get("constant_class")!r}',
    )
    beaten_by = [
        f'{words} has {scores[name][metric]:.4g}'
        for name, words in names.items()
        if metric in scores.get(name, {}) and _rank(rule, best) <= _rank(rule, scores[name][metric])
    ]
    if best is None or not beaten_by:
        return None
    return (
        f'Training has brought nothing: its best {metric} on the validation images is {best:.4g}, '
        f'but {" and ".join(beaten_by)}. Look at the masks (mask_values, classes) and at the '
        'pictures of validation; train longer, or with another learning rate.'
    )


def _rank(rule: str, score: float | None) -> float:
    """The greater the better; what is no number is the worst."""
    if score is None or math.isnan(score):
        return -math.inf
    return -score if rule == 'less' else score


def _chosen_by(runner: Runner) -> Iterator[tuple[str, str]]:
    """The results by which best checkpoints are chosen, and 'greater' or 'less'."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            yield from zip(hook.key_indicators, hook.rules, strict=True)


def _plain(scores: dict) -> dict[str, float | None]:
    """Those that are one number; None, as JSON can hold it, is NaN."""
    numbers = {name: float(value) for name, value in scores.items() if np.ndim(value) == 0}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _listed(scores: dict[str, float | None]) -> str:
    return ', '.join(
        f'{name} {"undefined" if value is None else f"{value:.4g}"}'
        for name, value in scores.items()
    )
