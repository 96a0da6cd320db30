"""The state of the random generators as tensors and plain numbers, which checkpoints can hold."""

import random

import numpy as np
import torch


def random_state() -> dict:
    """The state of Python's, NumPy's and PyTorch's global generators, and of the GPU's in use."""
    _, words, gauss = random.getstate()
    _, keys, *rest = np.random.get_state()
    return dict(
        python=torch.tensor(words),
        python_gauss=gauss,
        numpy=torch.from_numpy(keys.astype(np.int64)),
        numpy_rest=rest,
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    )


def set_random_state(state: dict) -> None:
    """The inverse of :func:`random_state`. ValueError when ``state`` is none."""
    try:
        random.setstate((3, tuple(state['python'].tolist()), state['python_gauss']))
        np.random.set_state(
            ('MT19937', state['numpy'].cpu().numpy().astype(np.uint32), *state['numpy_rest'])
        )
        torch.set_rng_state(state['torch'].cpu())
        if state['cuda'] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state['cuda'].cpu())
    except (AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f'This is no state of the random generators that this version reads: {error}.'
        ) from error
