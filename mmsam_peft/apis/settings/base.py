"""What a setting is: one variable at the top of a config that stands for several of its places."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from ...registry import MODELS


@dataclass
class Place:
    """Where a config holds a setting's value.

    Attributes:
        name: The dotted name, as ``--cfg-options`` takes it.
        node: The dict that holds it.
        key: Its key there.
        value: What it says, in the setting's own terms; None: nothing.
        as_written: The setting's value as this place spells it.
        bound: Whether it must agree with the others; the rest only move with them.
    """

    name: str
    node: dict
    key: str
    value: Any
    as_written: Any = field(default=lambda value: value)
    bound: bool = True

    def __str__(self) -> str:
        return self.name


class Setting:
    """A variable at the top of a config, ``image_size = 256``, that reaches every place it is for.

    Each setting is a class in a file of this folder, named like the file, and is found by being
    there. The places hold real values, so that other programs can read the config; a tool of ours
    writes the setting's value into them when it reads the config.

    Attributes:
        example: A value, for messages.
        also: A place that, set on the command line, means the setting where the config names it;
            None: a config whose setting and places then disagree is refused.
        parts: Whether its value is a dict of which ``NAME.KEY=...`` sets one.
    """

    name: str
    example: str
    also: str | None = None
    parts: bool = False

    def read(self, given: Any) -> Any:
        """The value in one form, from any that a user may write.

        Raises:
            ValueError: It is no such value; says what was expected.
        """
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        """Where the config holds the value."""
        raise NotImplementedError

    def apply(self, cfg: Config, value: Any) -> None:
        """Writes ``value``, as ``read`` gives it, into all places.

        Places that say something else must agree on it: they hold what the config's bases say, and
        several such values are several intentions.

        Raises:
            ValueError: Names the places that cannot all be meant; or there is none.
        """
        found = list(self.places(cfg))
        if not any(place.bound for place in found):
            raise ValueError(f'{self.name}={value}: this config has no place for it.')
        others = [place for place in found if place.bound and place.value not in (value, None)]
        if any(place.value != others[0].value for place in others):
            raise ValueError(
                f'{self.name}={value}, but the config says several other things, which cannot all '
                f'be meant: {_listed(others)}. Remove these values: {self.name} reaches all of '
                'them.'
            )
        before = others[0].value if others else value
        for place in found:
            if place.bound or place.value == before:
                place.node[place.key] = place.as_written(value)

    def holds(self, cfg: Config, value: Any) -> bool:
        """Whether every place says ``value`` already, so that there is nothing to apply."""
        said = all(place.value is not None for place in self.places(cfg) if place.bound)
        return said and not self.disagreements(cfg, value)

    def disagreements(self, cfg: Config, value: Any) -> list[str]:
        """The places that do not say ``value``, as lines for a message."""
        return [
            f'{place.name}: {place.value}'
            for place in self.places(cfg)
            if place.bound and place.value not in (None, value)
        ]

    def check(self, cfg: Config) -> None:
        """Looks at a config that does not name the setting.

        Raises:
            ValueError: Its places contradict each other.
        """


def _listed(places: list[Place]) -> str:
    return '; '.join(f'{place.name}: {place.value}' for place in places)


def takes(kind: str | type | None, argument: str) -> bool:
    """Whether what a config names takes an argument, by itself or by a base class."""
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    return inspect.isclass(kind) and any(
        argument in inspect.signature(one.__init__).parameters for one in kind.__mro__
    )
