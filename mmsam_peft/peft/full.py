"""Full fine-tuning; from scratch where the config names no checkpoint."""
from ..registry import PEFT
from .frozen import Frozen


@PEFT.register_module()
class Full(Frozen):
    """Trains every parameter of the encoder. Merging is trivial."""

    def trains(self, name: str) -> bool:
        return True
