"""Many adapters on one encoder in memory."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from torch import Tensor

from ..adapters.match import trained_names
from ..models.segmentors import PEFTSegmentor
from .inference import default_device, init_model
from .merging import merged_model


class AdapterBank(Mapping[str, PEFTSegmentor]):
    """Models ready to predict, by name, whose frozen weights are the same tensors: one base in
    memory, and each adapter.

        bank = AdapterBank(adapters=dict(cells='cells.safetensors', roads='roads.safetensors'))
        predict(bank['cells'], 'images', 'outputs')
        bank.add('glass', 'glass.safetensors', 'configs/lora/trans10k.py')

    Every model is whole and is what ``init_model`` gives, bit for bit. Switching is taking another
    one: nothing is copied or computed, nothing can fail half-way, and threads may use different
    ones at once. Nothing may write to the base: train none of the models, and do not merge in
    place; use ``merge``.

    Args:
        config: Path or config of the adapters; None: each is built from its own header.
        adapters: Adapter files, or checkpoints, by name.
        device: By default the GPU where there is one.
        merge: Fold the adapters into weights of their own. A model then is as fast as a plain one,
            and holds all tensors with an update, such as every block's qkv, for itself.
        checkpoint: The base weights, in place of the configs' or of a search.

    Raises:
        FileNotFoundError, ValueError: As ``add``.
    """

    def __init__(
        self,
        config: str | Path | Config | None = None,
        adapters: Mapping[str, str | os.PathLike] | None = None,
        device: str | None = None,
        merge: bool = False,
        checkpoint: str | None = None,
    ) -> None:
        self.config, self.device, self.merge = config, default_device(device), merge
        self.checkpoint = checkpoint
        self.base: dict[tuple, Tensor] = {}
        self.models: dict[str, PEFTSegmentor] = {}
        for name, weights in (adapters or {}).items():
            self.add(name, weights)

    def add(
        self,
        name: str,
        weights: str | os.PathLike,
        config: str | Path | Config | None = None,
        task: str | None = None,
    ) -> None:
        """Adds an adapter, or takes it for the one of this name. When it fails, the bank stays as
        it is.

        Args:
            config: Its own, where method or head differ from those of the bank's config.
            task: In a merging bank, whose model to make, where the method adapts the encoder for
                each task.

        Raises:
            FileNotFoundError, ValueError: No such file; damaged; made for another model; of another
                base than the bank's; a method that does not merge, in a merging bank.
        """
        config = self.config if config is None else config
        model = init_model(config, weights, 'cpu', checkpoint=self.checkpoint)
        if not isinstance(model, PEFTSegmentor):
            raise ValueError(
                f'{name} is a {type(model).__name__}: a bank holds adapted encoders, '
                f'{PEFTSegmentor.__name__}.'
            )
        base = self.common(model, weights)
        for key, value in base.items():
            model.get_parameter(key[0]).data = value
        model = model.to(self.device)
        self.models[name] = merged_model(model, task) if self.merge else model
        self.base.update(base)

    def common(self, model: PEFTSegmentor, weights: str | os.PathLike) -> dict[tuple, Tensor]:
        """What is frozen of the adapted parts, on the bank's device, by name, shape and dtype: the
        bank's own tensors where it has it.

        Position tables of other image sizes, which differ in shape, are tensors of their own.
        """
        found, trained = {}, trained_names(model)
        for name, parameter in model.named_parameters():
            if name not in trained and name.startswith(tuple(model.adapted)):
                value = parameter.data.to(self.device)
                key = name, tuple(value.shape), value.dtype
                found[key] = self.base.get(key, value)
                if not found[key].equal(value):
                    raise ValueError(
                        f'{weights} belongs to another base than the adapters of the bank: {name} '
                        'differs. Set '
                        'model.checkpoint of its config to theirs, or give it a bank of its own.'
                    )
        return found

    def __getitem__(self, name: str) -> PEFTSegmentor:
        if name not in self.models:
            raise KeyError(
                f'There is no adapter {name!r}; the bank has {", ".join(self.models) or "none"}.'
            )
        return self.models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)
