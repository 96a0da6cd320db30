"""The contract of a fine-tuning method, and what is done with any method, written once.

A method is one class in one file, registered in ``PEFT``; its constructor arguments are its config;
docs/add_a_method.md adds one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.storage import numbers
from ..registry import PEFT
from .anatomy import WORDS, anatomy_of


class Mergeable:
    """Mixin of a layer whose update can be folded into its own base parameters, and taken out again
    bit for bit."""

    unmerged: dict[str, Tensor] | None = None
    """The base parameters as they were, while merged."""

    @property
    def merged(self) -> bool:
        return self.unmerged is not None

    def merged_values(self) -> dict[str, Tensor]:
        """The base parameters with the update folded in, by name."""
        raise NotImplementedError

    @torch.no_grad()
    def merge(self) -> None:
        if not self.merged:
            values = self.merged_values()
            self.unmerged = {name: self.get_parameter(name).clone() for name in values}
            for name, value in values.items():
                self._put(name, value)

    def _put(self, name: str, value: Tensor) -> None:
        """A value for a base parameter; one that is stored in fewer bits is so no longer while
        merged: rounded anew, it would lose much of the update."""
        parameter = self.get_parameter(name)
        if parameter.dtype == value.dtype:
            parameter.copy_(value)
        else:
            parameter.data = value

    @torch.no_grad()
    def unmerge(self) -> None:
        if self.merged:
            for name, value in self.unmerged.items():
                self._put(name, value)
            self.unmerged = None


class PEFTMethod:
    """What a method says of itself. Its host is an encoder or the two-way transformer of a mask
    decoder, whatever has an anatomy. The host's own parameters keep their names through injection.
    """

    added: frozenset[str] = frozenset()
    """Names of the parameters that injection added to the host; set by :func:`apply_peft`."""
    trained_names: frozenset[str] = frozenset()
    """Names of the host's parameters that are trained, ``unfreeze`` included; set by
    :func:`apply_peft`, so that freezing the host later changes nothing of what belongs into its
    files."""
    identity_at_init: bool = True
    """Whether the host computes after injection what it did before. A method that cannot says why
    in its docstring."""
    needs: frozenset[str] = frozenset()
    """What the host must have, of ``anatomy.WORDS``. The linear layers that ``targets`` names are
    asked for by themselves."""
    stores: bool = True
    """Whether it multiplies with frozen weights by ``layers.stored_linear``, so that they may be
    stored in fewer bits."""
    merges: str = 'no'
    """How much of the update :meth:`merge` folds into the base weights: 'no', 'in part' or
    'fully'."""

    def inject(self, host: nn.Module) -> None:
        """Replaces or attaches modules."""

    def trains(self, name: str) -> bool:
        """Whether the host's parameter ``name`` is trained. By default: what injection added."""
        return name in self.added

    def aux_losses(self, host: nn.Module) -> dict[str, Tensor]:
        """Losses of the last forward pass to add to the total, by names that begin with 'loss';
        each is handed out once."""
        return {}

    def at(self, progress: float, host: nn.Module) -> None:
        """Tells how much of the training is done, 0 to 1, before each of its iterations."""

    def merge(self, host: nn.Module) -> None:
        """Folds the update into the base weights as far as ``merges`` says. NotImplementedError
        where it says 'no'."""
        for layer in self._mergeable(host):
            layer.merge()

    def unmerge(self, host: nn.Module) -> None:
        """Undoes :meth:`merge`, bit for bit."""
        for layer in self._mergeable(host):
            layer.unmerge()

    def _mergeable(self, host: nn.Module) -> list[Mergeable]:
        if self.merges == 'no':
            raise NotImplementedError(
                f'{type(self).__name__} cannot be merged into the base weights.'
            )
        return [module for module in host.modules() if isinstance(module, Mergeable)]


def build_method(cfg: dict) -> PEFTMethod:
    """Builds a method from its config. Raises ValueError, with the known methods, for an unknown
    type."""
    if PEFT.get(cfg['type']) is None:
        raise ValueError(
            f'peft type={cfg["type"]!r} is unknown: use one of '
            f'{", ".join(sorted(PEFT.module_dict))}.'
        )
    return PEFT.build(cfg)


def what_is_missing(method: PEFTMethod, host: nn.Module) -> str:
    """What the method needs and the host does not have, in words; '' where it has everything.
    ValueError for a need that no host could say it meets."""
    if unknown := sorted(method.needs - WORDS.keys()):
        raise ValueError(
            f'{type(method).__name__} needs {", ".join(unknown)}: expected of {", ".join(WORDS)}.'
        )
    return ' and '.join(
        what for word, what in WORDS.items() if word in method.needs - anatomy_of(host).offers
    )


def apply_peft(host: nn.Module, method: PEFTMethod, unfreeze: str | Sequence[str] = ()) -> None:
    """Injects ``method`` and freezes every parameter that neither it nor ``unfreeze`` (beginnings
    of names) trains.

    Raises:
        ValueError: An ``unfreeze`` entry matches no parameter; the method does not go into this
            host; the host has no anatomy, or another method in it.
    """
    if there := getattr(host, 'adapted_by', None):
        raise ValueError(
            f'{type(host).__name__} has {there} in it already, which {type(method).__name__} would '
            'replace in '
            'part: build it anew for another method.'
        )
    if missing := what_is_missing(method, host):
        offers = anatomy_of(host).offers
        fit = ', '.join(
            sorted(name for name, kind in PEFT.module_dict.items() if kind.needs <= offers)
        )
        raise ValueError(
            f'{type(method).__name__} needs {missing}, which {type(host).__name__} does not have: '
            f'use one of {fit}.'
        )
    unfreeze = (unfreeze,) if isinstance(unfreeze, str) else tuple(unfreeze)
    base = {name for name, _ in host.named_parameters()}
    for prefix in unfreeze:
        if not any(name.startswith(prefix) for name in base):
            parts = sorted({name.split('.')[0] for name in base})
            raise ValueError(
                f'unfreeze={prefix!r} matches no parameter of the encoder: its parts are '
                f'{", ".join(parts)}.'
            )
    method.inject(host)
    host.adapted_by = type(method).__name__
    method.added = frozenset(name for name, _ in host.named_parameters()) - base
    method.trained_names = frozenset(
        name
        for name, _ in host.named_parameters()
        if method.trains(name) or name.startswith(unfreeze)
    )
    for name, parameter in host.named_parameters():
        parameter.requires_grad_(name in method.trained_names)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(trained, all) parameters of a module."""
    sizes = [(numbers(p), p.requires_grad) for p in module.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)
