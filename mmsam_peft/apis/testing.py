"""What ``tools/test.py`` makes of a training config."""

from collections.abc import Iterator

from mmengine.config import Config

from .settings import apply_settings


def prepare_test(
    cfg: Config,
    weights: str,
    out: str | None = None,
    show_dir: str | None = None,
    tta: bool = False,
    amp: bool = False,
    clicks: bool = False,
) -> None:
    """Turns a config into one that tests ``weights``; only the test data need be there.

    Args:
        out: Folder for the predictions.
        show_dir: Folder for pictures of predictions beside labels.
        tta: Average over the views of ``tta_pipeline``.
        clicks: Have the robot user of ``ClickMetric`` click at each object too.
        amp: Compute in mixed precision, whose type is that of the surrounding autocast.

    Raises:
        ValueError: The config has no test set, no ``tta_pipeline``, or nothing that draws.
    """
    if lacking := [
        name for name in ('test_dataloader', 'test_evaluator', 'test_cfg') if cfg.get(name) is None
    ]:
        raise ValueError(
            f'{cfg.filename} has no {", ".join(lacking)}: there is nothing to test on. Add a test '
            'set with '
            'labels, or predict with tools/predict.py.'
        )
    cfg.load_from, cfg.resume = weights, False
    if clicks:
        scored = cfg.test_evaluator
        several = list(scored) if isinstance(scored, list | tuple) else [scored]
        cfg.test_evaluator = [*several, dict(type='ClickMetric')]
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    if out:
        cfg.custom_hooks = [
            *(cfg.get('custom_hooks') or []),
            dict(type='SaveMasksHook', out_dir=out),
        ]
    drawing = (cfg.get('default_hooks') or {}).get('visualization')
    if show_dir and not (drawing and cfg.get('visualizer')):
        raise ValueError(
            f'{cfg.filename} has no default_hooks.visualization or no visualizer, which draw the '
            'pictures for '
            "--show-dir: add default_hooks=dict(visualization=dict(type='PanelHook')), "
            "as the zoo's "
            'configs do.'
        )
    if show_dir:
        drawing.update(draw=True, interval=1)
        cfg.visualizer.update(save_dir=show_dir)
    elif drawing:
        drawing.draw = False
    if tta:
        if not (cfg.get('tta_pipeline') and cfg.get('tta_model')):
            raise ValueError(
                f'{cfg.filename} has no tta_pipeline or no tta_model: it cannot average over '
                'views. Leave --tta '
                'out.'
            )
        for part in _parts(cfg.test_dataloader.dataset):
            part.pipeline = cfg.tta_pipeline
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
        if cfg.get('protocol'):
            apply_settings(cfg, dict(protocol=cfg.protocol))  # which scores at a size of its own
    cfg.test_cfg.fp16 = amp


def _parts(dataset: dict) -> Iterator[dict]:
    """The configs of the data sets inside of wrappers such as ``ConcatDataset``."""
    inner = dataset.get('datasets', [dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for part in inner:
        yield from _parts(part)
