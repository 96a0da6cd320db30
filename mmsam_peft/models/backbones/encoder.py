"""What the encoders of the Segment Anything family have in common around their networks."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...layers.attention import ATTENTION
from ...layers.block import MapBlock
from ...layers.storage import STORAGES, is_packed, widen
from ...peft import apply_peft, build_method
from ...peft.base_dtype import check_base_dtype, make_storable, store_frozen
from .checkpoints import guess_arch, load_part, read_checkpoint
from .keys import Keys
from .sam_keys import SAM

FURTHER = 'patch_embed.further'
"""What an encoder has that sees more than red, green and blue."""


class Encoder(BaseModule):
    """An encoder with base weights and a fine-tuning method. A subclass states ``keys`` and
    ``anatomy`` and ends its constructor with ``adapt``.

    Args:
        arch: All its sizes, as adapter files record them.
        img_size: The (H, W) its position tables are kept for.
        in_channels: 3, red, green and blue, and further ones.
        checkpoint: Path or URL of base weights.

    Raises:
        ValueError: Fewer channels than 3.
    """

    keys: ClassVar[Keys] = SAM
    optional: ClassVar[tuple[str, ...]] = ()
    """Beginnings of names that a file of base weights may lack, all of one beginning or none."""
    single_map = True
    """Whether it returns one map. What a neck makes of several is not worth storing."""
    named: ClassVar[dict[tuple[int, int], str]] = {}
    """Names of archs by their width and number of blocks."""
    sam_decoder = True
    """Whether a file of its authors has a place for SAM's mask decoder, or SAM 2's."""

    def __init__(
        self,
        arch: dict,
        img_size: int | Sequence[int],
        in_channels: int = 3,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        if in_channels < 3:
            raise ValueError(
                f'in_channels={in_channels}: {self.keys.family} sees red, green and blue, so that '
                '3 is the least; pixels in the config makes three of one band.'
            )
        self.arch, self.in_channels = arch, in_channels
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        self.checkpoint = checkpoint

    base_dtype = 'float32'
    """How the weights of the frozen linear layers are stored."""

    def adapt(
        self,
        peft: dict | None,
        unfreeze: Sequence[str],
        compile: bool | dict,
        base_dtype: str = 'float32',
    ) -> None:
        """Injects the method, which decides what is trained; stores what is not as ``base_dtype``
        says; compiles every block in place."""
        self.peft = build_method(peft) if peft else None
        check_base_dtype(base_dtype, self.peft)
        if base_dtype != 'float32':
            make_storable(self)
        if self.peft:
            unfreeze = (unfreeze,) if isinstance(unfreeze, str) else tuple(unfreeze)
            apply_peft(self, self.peft, (*unfreeze, FURTHER) if self.in_channels > 3 else unfreeze)
        if base_dtype != 'float32':
            self.base_dtype = base_dtype
            store_frozen(self, self.peft, base_dtype)
            self._register_state_dict_hook(with_plain_numbers)
        if compile:
            options = {} if compile is True else dict(compile)
            if 'uniform' not in self.anatomy.can:  # else for maps of any size, which takes minutes
                options.setdefault('dynamic', False)
            for block in [module for module in self.modules() if isinstance(module, MapBlock)]:
                block.compile(**options)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        for name, parameter in self.named_parameters():
            value = state_dict.get(prefix + name)
            if is_packed(parameter) and isinstance(value, Tensor) and not is_packed(value):
                state_dict[prefix + name] = STORAGES[self.base_dtype].store(value)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @classmethod
    def read_weights(cls, path: str) -> dict[str, Tensor]:
        """The weights in a file, a folder or at an address, of any layout of the encoder's family,
        under our names. ValueError for those of another."""
        return read_checkpoint(path, cls.keys)

    def init_weights(self) -> None:
        """Loads ``checkpoint``, once. Raises ValueError when it belongs to another arch or matches
        nothing."""
        if self._is_init:
            return
        self._is_init = True
        if self.checkpoint:
            self.load_sam(self.read_weights(self.checkpoint), self.checkpoint)

    @property
    def depth(self) -> int:
        """The number of blocks of the arch."""
        return self.arch['depth']

    def load_sam(self, state: dict[str, Tensor], source: str) -> list[str]:
        """Loads the encoder from a state dict under our names, before or after a method was
        injected. ValueError for a file of another arch, or that lacks any weight but ``optional``
        ones. Returns what it lacks."""
        found, expected = guess_arch(state), (self.arch.get('embed_dim'), self.depth)
        if found and found != expected:
            raise ValueError(
                f'{source} holds an encoder of width {found[0]} and depth {found[1]}'
                f'{f" (arch={self.named[found]!r})" if found in self.named else ""}; the model has '
                f'width {expected[0]} and depth {expected[1]}. Set backbone.arch to match, or use '
                'another checkpoint.'
            )
        added = [
            name
            for name in self.state_dict(keep_vars=True)
            if not self.keys.encoder.fullmatch(f'image_encoder.{name}')
        ]
        missing = load_part(self, state, ('image_encoder.',), source, added, optional=self.optional)
        named = dict(self.named_parameters())
        if any(key.startswith('neck') and not named[key].requires_grad for key in missing):
            print_log(
                f'{source} has no neck, and the neck is frozen at random values: train it with '
                "backbone.unfreeze=['neck'].",
                'current',
                level=30,
            )
        return missing


def with_plain_numbers(encoder: nn.Module, state: dict, prefix: str, _: dict) -> None:
    """Hook of ``state_dict``: files hold packed weights as float32, which loading packs to the same
    bytes. They lie on the CPU, as they may be more than the device has room for. With ``keep_vars``
    they stay as they are."""
    for name, parameter in encoder.named_parameters():
        if is_packed(parameter) and state.get(prefix + name) is not parameter:
            stored = parameter.detach()
            state[prefix + name] = widen(stored if stored.is_meta else stored.cpu())


def sizes_of(arch: str | dict, known: Mapping[str, dict], common: Mapping[str, object]) -> dict:
    """All sizes of an arch, which is a name or a dict.

    Args:
        known: The sizes of the archs that have names.
        common: Those that a dict may leave out.

    Raises:
        ValueError: No such name; a dict that lacks sizes or has unknown ones.
    """
    if isinstance(arch, str) and arch not in known:
        raise ValueError(
            f'arch={arch!r} is unknown: use one of {", ".join(known)}, or a dict of its sizes.'
        )
    first: Collection[str] = next(iter(known.values())).keys()
    sizes = {**common, **(known[arch] if isinstance(arch, str) else arch)}
    if sizes.keys() != common.keys() | first:
        needed = [name for name in first if name not in common]
        raise ValueError(
            f'arch={dict(arch)}: as a dict it needs {", ".join(needed)} '
            f'and may have {", ".join(common)}.'
        )
    return sizes


def check_attention(attention: str) -> str:
    """ValueError where it is no form of attention."""
    if attention not in ATTENTION:
        raise ValueError(f'attention={attention!r} is unknown: use one of {", ".join(ATTENTION)}.')
    return attention
