"""The config of a method on a data set: a cell of the tree configs/METHOD/DATA.py, or a method put
into a config that is named."""

from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ...apis.inference import is_adaptable
from ...apis.launch import load_config
from ...apis.overrides import apply_overrides
from ...peft.notation import parse_method
from ...registry import PEFT

OF_SAM = 'method', 'encoder'
"""Settings (``apis/settings/``) that networks do not have."""


@dataclass(frozen=True)
class Data:
    """A data set of a suite.

    Attributes:
        name: What it is called: in the tree, in folders and tables.
        config: A config of a ``PEFTSegmentor`` whose ``model.backbone.peft`` each method takes the
            place of; None: the cells are in the tree.
    """

    name: str
    config: str | None = None

    @classmethod
    def parse(cls, text: str) -> 'Data':
        """``kvasir``, or ``NAME=FILE.py``.

        Raises:
            ValueError: A file without a name.
        """
        name, _, config = text.rpartition('=')
        if text.endswith('.py') and not name:
            raise ValueError(
                f'--data got {text}, expected the name of a data set in the tree, or NAME=FILE.py.'
            )
        return cls(name, config) if name else cls(text)


@dataclass(frozen=True)
class Cells:
    """Where configs are found, and what is changed in all of them.

    Attributes:
        tree: The folder of METHOD/DATA.py.
        options: Overrides; those of the model only reach configs of a ``PEFTSegmentor``.
        task: The one task to keep of every config of several.
    """

    tree: Path
    options: dict | None = None
    task: str | None = None

    def config(self, method: str, data: Data) -> Config:
        """The config of a method on a data set.

        Args:
            method: A folder of the tree (``convlora``); that with options of its method
                (``convlora(rank=8)``); a registered method or a call of one (``LoRA(rank=8)``),
                which takes the place of that of another cell, or of ``data.config``; or a config
                file, in which ``{data}`` stands for the data set's name.

        Raises:
            FileNotFoundError: There is no such cell.
            ValueError: It is no method, or does not go into this model.
        """
        if method.endswith('.py'):
            return self.load(method.replace('{data}', data.name))
        folder = method.partition('(')[0]
        if data.config is None and self.path(folder, data.name):
            config = self.load(self.path(folder, data.name))
            if '(' in method:
                self._adaptable(config, method)
                options = parse_method(method)
                del options['type']
                _put(config, {**config.model.backbone.peft, **options})
            return config
        if data.config is None and PEFT.get(folder) is None:
            raise FileNotFoundError(self._no_cell(folder, data.name))
        config = self.load(data.config) if data.config else self._host(data.name)
        self._adaptable(config, method)
        _put(config, parse_method(method))
        return config

    def load(self, path: str | Path) -> Config:
        config = load_config(str(path), task=self.task)
        ours = is_adaptable(config)
        apply_overrides(
            config,
            {
                key: value
                for key, value in (self.options or {}).items()
                if ours or not key.startswith(('model.', *OF_SAM))
            },
        )
        return config

    def path(self, method: str, data: str) -> Path | None:
        """TREE/METHOD/DATA.py; for ``segformer_b0`` also TREE/segformer/DATA_b0.py."""
        family, _, variant = method.rpartition('_')
        paths = [self.tree / method / f'{data}.py', self.tree / family / f'{data}_{variant}.py']
        return next((path for path in paths[: 2 if family else 1] if path.is_file()), None)

    def _host(self, data: str) -> Config:
        """A cell of the data set that any method can be put into."""
        for path in sorted(self.tree.glob(f'[!_]*/{data}.py')):
            config = self.load(path)
            if is_adaptable(config) and config.model.get('checkpoint'):
                return config
        raise FileNotFoundError(self._no_cell('*', data))

    def _adaptable(self, config: Config, method: str) -> None:
        if not is_adaptable(config):
            raise ValueError(
                f'{config.filename} has a {config.model.type}, expected a config of a '
                f'PEFTSegmentor, into which {method} can be put; others are methods of their own.'
            )

    def _no_cell(self, method: str, data: str) -> str:
        has = (
            sorted(path.stem for path in self.tree.glob(f'{method}/*.py')) if method != '*' else []
        )
        others = sorted(path.parent.name for path in self.tree.glob(f'[!_]*/{data}.py'))
        return (
            f'no cell {self.tree / method / data}.py: '
            f'{method} has {", ".join(has) or "none"}; '
            f'{data} is there for {", ".join(others) or "no method"}.'
        )


def _put(config: Config, peft: dict) -> None:
    """Replaces the method, and its setting with it, which would replace it again when the config is
    read."""
    config.model.backbone.peft = peft
    config._cfg_dict.pop('method', None)
