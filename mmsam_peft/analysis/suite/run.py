"""A run of a suite: one training and its test, in a folder of its own."""

import json
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ...engine.checkpoints import newest_checkpoint
from ...whole_files import write_whole
from .settings import differences, peft_with_defaults


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        folder: Where everything of this run goes.
        config: What is trained, with method, options and seed.
        facts: What result.json says of the run before it is made: ``data``, ``method`` as asked,
            ``arch``, ``lr`` and ``seed``; ``settings`` is the config as JSON.
    """

    folder: Path
    config: Config
    facts: dict

    @property
    def method(self) -> str:
        return self.facts['method']

    @property
    def seed(self) -> int:
        return self.facts['seed']

    @property
    def title(self) -> str:
        """``kvasir LoRA(rank=8) lr 0.001 seed 0``; the rate where one was asked for."""
        lr = self.facts.get('lr')
        asked = lr is not None and f'lr={lr:g}' in self.folder.parts
        parts = (
            self.facts.get('data'),
            self.method,
            self.facts.get('arch'),
            f'lr {lr:g}' if asked else None,
            f'seed {self.seed}',
        )
        return ' '.join(part for part in parts if part)

    @property
    def result(self) -> Path:
        """The numbers of the finished run."""
        return self.folder / 'result.json'

    @property
    def image_scores(self) -> Path:
        """The scores of each test image."""
        return self.folder / 'images.json'

    @property
    def journal(self) -> Path:
        """The settings and what became of each attempt at the training."""
        return self.folder / 'attempts.json'

    @property
    def failure(self) -> Path:
        """Why the last attempt failed, if it did."""
        return self.folder / 'failure.txt'

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return newest_checkpoint(self.folder)[0] is not None

    def require_same_settings(self) -> None:
        """Raises ValueError when the folder holds a run with other settings."""
        file = self.result if self.result.exists() else self.journal
        if file.exists() and (self.begun or file == self.result):
            found, asked = (
                peft_with_defaults(json.loads(file.read_text())['settings']),
                self.facts['settings'],
            )
            if found != asked:
                raise ValueError(
                    f'{self.folder} holds a run with other settings: {differences(found, asked)}. '
                    'Move that folder away, use another --work-dir, or ask for what it holds.'
                )

    def write(self) -> None:
        """Writes what is planned; :meth:`read` reads it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.dump(self.folder / 'config.py')
        write_json(self.folder / 'planned.json', self.facts)

    @classmethod
    def read(cls, folder: Path) -> 'Run':
        """The run that is planned in a folder.

        Raises:
            FileNotFoundError: None is.
        """
        if not (folder / 'planned.json').exists():
            raise FileNotFoundError(
                f'{folder} has no planned.json: expected the folder of a run that '
                'tools/analysis_tools/suite.py has planned.'
            )
        facts = json.loads((folder / 'planned.json').read_text())
        return cls(folder, Config.fromfile(folder / 'config.py'), facts)


def write_json(path: Path, content: dict) -> None:
    write_whole(path, json.dumps(content, indent=1).encode())
