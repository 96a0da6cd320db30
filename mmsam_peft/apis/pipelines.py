"""The pipelines in a config, wherever they are."""

from collections.abc import Iterator, Mapping, Sequence

VARIABLES = ('train_pipeline', 'test_pipeline', 'tta_pipeline')
"""Pipelines at the top of a config. Inference reads the second, averaging over views the third."""


def type_name(step: Mapping) -> str | None:
    """The name of what a dict of a config builds, without its module."""
    kind = step.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', kind)


def pipelines(cfg: Mapping) -> Iterator[tuple[str, list]]:
    """The pipelines of the data sets, inside of wrappers such as ``ConcatDataset`` too, and the
    ``VARIABLES``, with their dotted names."""
    for part in ('train', 'val', 'test'):
        loader = cfg.get(f'{part}_dataloader') or {}
        yield from _of_dataset(loader.get('dataset'), f'{part}_dataloader.dataset')
    for name in VARIABLES:
        if cfg.get(name):
            yield name, cfg[name]


def groups(pipeline: Sequence, name: str) -> Iterator[list[tuple[str, dict]]]:
    """The steps of a pipeline, with their dotted names, in the order in which they act. Steps of
    which one acts, as in ``TestTimeAug``, are in one group."""
    for number, step in enumerate(pipeline):
        place = f'{name}.{number}'
        inner = step.get('transforms') if isinstance(step, Mapping) else None
        if not inner:
            yield [(place, step)]
        elif isinstance(inner[0], Mapping):
            yield from groups(inner, f'{place}.transforms')
        else:
            for i, alternatives in enumerate(inner):
                yield [(f'{place}.transforms.{i}.{j}', one) for j, one in enumerate(alternatives)]


def _of_dataset(dataset: Mapping | None, name: str) -> Iterator[tuple[str, list]]:
    if not isinstance(dataset, Mapping):
        return
    if dataset.get('pipeline'):
        yield f'{name}.pipeline', dataset['pipeline']
    yield from _of_dataset(dataset.get('dataset'), f'{name}.dataset')
    for number, part in enumerate(dataset.get('datasets') or ()):
        yield from _of_dataset(part, f'{name}.datasets.{number}')
