"""Which arguments of a command line are a config, weights, and what is done with them."""

from pathlib import Path

from .from_header import WEIGHTS, is_weights

CONFIGS = ('.py', '.json', '.yaml', '.yml')


def config_and_weights(given: list[str], last: str) -> tuple[str | None, str, str]:
    """Reads ``WEIGHTS LAST`` or ``CONFIG WEIGHTS LAST``; the config is None in the first.

    Args:
        last: What the last argument is called: 'IMAGES'.

    Raises:
        ValueError: Arguments that are neither, with what seems to be wrong.
    """
    usage = f'Give ADAPTER {last}, or CONFIG WEIGHTS {last}.'
    kinds = [_kind(path) for path in given]
    if len(given) == 2 and kinds[0] == 'weights':
        return None, given[0], given[1]
    if len(given) == 3 and kinds[:2] == ['config', 'weights']:
        return given[0], given[1], given[2]
    if len(given) < 2 or kinds == ['config', 'weights']:
        raise ValueError(f'{last} is missing: got {" ".join(given)}. {usage}')
    if kinds[:2] == ['weights', 'config']:
        raise ValueError(
            f'{given[1]} is a config: name it before the weights, or leave it out. {usage}'
        )
    if 'weights' not in kinds:
        raise ValueError(
            f'none of {_listed(given)} is an adapter or a checkpoint ({" ".join(WEIGHTS)}). {usage}'
        )
    if kinds[0] == 'config':
        raise ValueError(f'{given[1]} is no adapter and no checkpoint. {usage}')
    if kinds[0] == 'other' and len(given) == 2:
        raise ValueError(f'{given[1]} is the weights: name it before {given[0]}. {usage}')
    if kinds[0] == 'other':
        raise ValueError(f'{given[0]} is no config ({" ".join(CONFIGS)}). {usage}')
    if kinds[1] == 'weights' and len(given) == 3:
        raise ValueError(
            f'{given[0]} and {given[1]} are both weights: those that the adapter was trained on '
            f'are given by --checkpoint. {usage}'
        )
    raise ValueError(
        f'got {len(given)} arguments, {_listed(given)}: quote a pattern, so that the shell leaves '
        f"it as it is ('images/*.png'). {usage}"
    )


def _kind(path: str) -> str:
    if is_weights(path):
        return 'weights'
    return 'config' if Path(path).suffix.lower() in CONFIGS else 'other'


def _listed(given: list[str]) -> str:
    return ', '.join(given[:4]) + (f' and {len(given) - 4} more' if len(given) > 4 else '')
