"""The contract of a fine-tuning method, and what is done with any method, written once.

A method is one class in one file, registered in ``PEFT``; its constructor arguments are its config.
"""
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from ..registry import PEFT


class PEFTMethod:
    """What a method says of itself. ``encoder`` is a ``SAMViT``; its base parameters keep their names through injection."""

    added: frozenset[str] = frozenset()
    """Names of the parameters that injection added to the encoder; set by :func:`apply_peft`."""

    def inject(self, encoder: nn.Module) -> None:
        """Replaces or attaches modules. Afterwards the encoder computes what it did before; a method that cannot says why."""

    def trains(self, name: str) -> bool:
        """Whether the encoder's parameter ``name`` is trained. By default: what injection added."""
        return name in self.added

    def aux_losses(self, encoder: nn.Module) -> dict[str, Tensor]:
        """Losses of the last forward pass to add to the total, by names that begin with 'loss'; each is handed out once."""
        return {}

    def merge(self, encoder: nn.Module) -> None:
        """Folds the update into the base weights as far as the maths allows. NotImplementedError where it does not."""
        raise NotImplementedError(f'{type(self).__name__} cannot be merged into the base weights.')

    def unmerge(self, encoder: nn.Module) -> None:
        """Undoes :meth:`merge`, bit for bit."""
        raise NotImplementedError(f'{type(self).__name__} cannot be merged into the base weights.')


def build_method(cfg: dict) -> PEFTMethod:
    """Builds a method from its config. Raises ValueError, with the known methods, for an unknown type."""
    if PEFT.get(cfg['type']) is None:
        raise ValueError(f'peft type={cfg["type"]!r} is unknown: take one of {", ".join(sorted(PEFT.module_dict))}.')
    return PEFT.build(cfg)


def apply_peft(encoder: nn.Module, method: PEFTMethod, unfreeze: str | Sequence[str] = ()) -> None:
    """Injects ``method`` and freezes every parameter that neither it nor ``unfreeze`` (beginnings of names) trains.

    Raises:
        ValueError: An ``unfreeze`` entry matches no parameter.
    """
    unfreeze = (unfreeze,) if isinstance(unfreeze, str) else tuple(unfreeze)
    base = {name for name, _ in encoder.named_parameters()}
    method.inject(encoder)
    method.added = frozenset(name for name, _ in encoder.named_parameters()) - base
    for prefix in unfreeze:
        if not any(name.startswith(prefix) for name in base):
            parts = sorted({name.split('.')[0] for name in base})
            raise ValueError(f'unfreeze={prefix!r} matches no parameter of the encoder: its parts are {", ".join(parts)}.')
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(method.trains(name) or name.startswith(unfreeze))


def target_linears(encoder: nn.Module, targets: str | Sequence[str]) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Every linear layer of the blocks whose name within its block is in ``targets``, as (parent, attribute, linear).

    Raises:
        ValueError: A target names no linear layer.
    """
    targets = (targets,) if isinstance(targets, str) else targets
    linears = [name for name, module in encoder.blocks[0].named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if target not in linears:
            raise ValueError(f'target {target!r} matches no linear layer of a block: take from {", ".join(linears)}.')
    for block in encoder.blocks:
        for target in targets:
            path, _, attribute = target.rpartition('.')
            parent = block.get_submodule(path)
            yield parent, attribute, getattr(parent, attribute)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(trained, all) parameters of a module."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)
