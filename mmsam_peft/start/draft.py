"""Everything that is known when a config is written."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..apis.training_defaults import TrainingDefaults, training_defaults
from ..datasets.labels import Annotations
from ..datasets.survey.pairs import Pair
from ..datasets.survey.survey import Survey
from .choices import Sizes, loss_choice, number_of_windows
from .config_file import config_text, list_of, place_of
from .describe import summary
from .encoders import Encoder

TOGETHER = (('max_epochs', 'patience'),)
"""Settings that share a line of the config."""


@dataclass(frozen=True)
class Draft:
    """``peft``: the method's config; ``seed``: of the split and of the training."""

    survey: Survey
    names: tuple[str, ...]
    parts: Mapping[str, Sequence[Pair]]
    encoder: Encoder
    peft: dict
    seed: int

    def defaults(self, sizes: Sizes, max_batch: int) -> TrainingDefaults:
        return training_defaults(
            len(self.parts['train']),
            len(self.parts['val']),
            self.peft['type'],
            max_batch=max_batch,
            val_cost=number_of_windows(self.survey, sizes),
        )

    def lists(self, folder: Path) -> dict[Path, str]:
        """Texts of the lists of files."""
        images, masks = self._folders()
        texts = {
            folder / f'{part}.txt': list_of(same, images or self._image_folder(part), masks)
            for part, same in self.parts.items()
        }
        if self.survey.left_out:
            texts[folder / 'left_out.txt'] = ''.join(
                f'{image}\t{why}\n' for image, why in sorted(self.survey.left_out.items())
            )
        return texts

    def _folders(self) -> tuple[Path | None, Path | None]:
        """Of all images and of all masks; None where annotations say where they are."""
        if self.survey.annotations:
            return None, None
        pairs = [pair for same in self.parts.values() for pair in same]
        return (
            _common_folder([pair.image for pair in pairs]),
            _common_folder([pair.mask for pair in pairs]),
        )

    def files(self, path: Path, sizes: Sizes, defaults: TrainingDefaults) -> dict[Path, str]:
        """Texts of the config ``path`` and of the lists beside it."""
        folder, texts = path.parent, self.lists(path.parent)
        images, masks = self._folders()
        lists = {part: self._dataset(part, folder) for part in ('train', 'val', 'test')}
        kind = 'annotated' if self.survey.annotations else 'custom'
        kind += '_multiclass' if len(self.names) > 2 else ''
        texts[path] = config_text(
            heading=[
                f'python tools/train.py {path.as_posix()}',
                f'{summary(self.survey, self.names)}. Written by tools/start.py',
            ],
            base=f'mmsam_peft::_base_/sam/{kind}.py',
            base_reason='{}: {}'.format(*loss_choice(self.survey)),
            data=self._data(images, masks, folder),
            data_reason=self.survey.encoding.words,
            parts=lists,
            settings=self._settings(sizes, defaults, folder),
        )
        return texts

    def _dataset(self, part: str, folder: Path) -> tuple[dict[str, Any], str]:
        """What a part's data set has beside what all have, and a comment."""
        used = part if part in self.parts else 'val'
        own: dict[str, Any] = dict(ann_file=place_of(folder / f'{used}.txt', folder))
        if len(self.survey.annotations) > 1:
            own['annotations'] = place_of(self._source(used).path, folder)
            own['data_prefix'] = dict(img_path=place_of(self._image_folder(used), folder))
        number = len(self.parts[used])
        return own, f'{number} images' + (
            '' if part == used else ', as there are none to test with'
        )

    def _source(self, part: str) -> Annotations:
        """The annotations of a part: its own, or those that it was taken from."""
        every = self.survey.annotations
        return every.get(part) or every.get('train') or every[None]

    def _image_folder(self, part: str) -> Path:
        return Path(os.path.abspath(self._source(part).image_list.folder))

    def _data(self, images: Path | None, masks: Path | None, folder: Path) -> dict[str, Any]:
        encoding = self.survey.encoding
        info: dict[str, Any] = dict(classes=self.names)
        if encoding.palette:
            info['palette'] = [list(colour) for colour in encoding.palette]
        if images is None or masks is None:
            data: dict[str, Any] = dict(data_root=None, metainfo=info)
            if len(self.survey.annotations) == 1:
                data['annotations'] = place_of(self._source('train').path, folder)
                data['data_prefix'] = dict(img_path=place_of(self._image_folder('train'), folder))
            return data | (dict(others=self.survey.others) if self.survey.others != 'error' else {})
        root = Path(os.path.commonpath([images, masks]))
        if root == Path(root.anchor):
            place, prefix = None, [place_of(images, folder), place_of(masks, folder)]
        else:
            place = place_of(root, folder)
            prefix = [
                '' if one == root else one.relative_to(root).as_posix() for one in (images, masks)
            ]
        return dict(
            data_root=place,
            data_prefix=dict(zip(('img_path', 'seg_map_path'), prefix, strict=True)),
            metainfo=info,
            mask_values=encoding.mask_values,
        )

    def _settings(
        self, sizes: Sizes, defaults: TrainingDefaults, folder: Path
    ) -> list[tuple[Mapping[str, Any], str]]:
        peft, number = dict(self.peft), len(self.names)
        if peft['type'] == 'ConvLoRA' and number > 2:
            peft.setdefault('balance_weight', 2.0)
        side = sizes.image_size[0] if len(set(sizes.image_size)) == 1 else sizes.image_size
        model: dict[str, Any] = {}
        if self.encoder.checkpoint:
            model['checkpoint'] = place_of(self.encoder.checkpoint, folder)
        if number > 2:
            model['decode_head'] = dict(num_classes=number, num_queries=2 * number)
        tuned = dict(encoder=self.encoder.name, method=method_text(peft))
        seen: dict[str, Any] = dict(image_size=side)
        if sizes.windows is not None:
            seen['windows'] = sizes.windows
        rows = [(dict(model=model), 'two queries for each class' if number > 2 else '')]
        rows = rows if model else []
        if self.survey.pixels:
            reason = 'of a sample, half a percent is darker and half a percent brighter'
            rows += [(dict(pixels=self.survey.pixels), reason)]
        rows += [(tuned, f'{self.encoder.variant.words}; docs/methods.md has other methods')]
        rows += [(seen, sizes.reason)]
        names = list(defaults.settings())
        for name in names:
            group = next((group for group in TOGETHER if name in group), (name,))
            if name == group[0]:
                choices = [getattr(defaults, one) for one in group]
                values = {one: choice.value for one, choice in zip(group, choices, strict=True)}
                rows.append((values, '; '.join(choice.reason for choice in choices)))
        return [*rows, (dict(randomness=dict(seed=self.seed)), '')]


def method_text(peft: Mapping[str, Any]) -> str:
    """``LoRA(rank=8)``."""
    arguments = ', '.join(f'{key}={value!r}' for key, value in peft.items() if key != 'type')
    return f'{peft["type"]}({arguments})' if arguments else peft['type']


def _common_folder(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files]))
