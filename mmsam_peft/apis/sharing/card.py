"""The page of a published adapter, as Hugging Face's hub shows it."""

import re
from typing import NamedTuple

import yaml
from torch import nn

from ...adapters.recipe import ASSET
from ...hub import SCHEME, parsed
from ...models.segmentors import MultiTaskSegmentor
from ..from_header import frozen

ON_HUB = {
    'sam_vit_b': 'facebook/sam-vit-base',
    'sam_vit_l': 'facebook/sam-vit-large',
    'sam_vit_h': 'facebook/sam-vit-huge',
}
"""Where the hub has encoders whose authors publish them elsewhere; those of SAM 2 follow a rule."""
MOST_CLASSES = 40
"""That are listed."""


class About(NamedTuple):
    """What a card says beside the model."""

    header: dict
    digest: str
    """SHA-256 of the adapter's file."""
    size: int
    """Of it, in bytes."""
    licence: str | None
    data: str | None
    repository: str | None
    picture: bool
    own_config: bool
    """Whether the config is the training's."""
    test_scores: dict[str, float]


def card(model: nn.Module, about: About) -> str:
    """The text of README.md."""
    header = about.header
    method = header['peft']['type']
    encoder = model.variant.words if model.variant else type(model.backbone).__name__
    title = (about.repository or 'A tuned Segment Anything').rpartition('/')[2]
    parts = [
        f'---\n{yaml.safe_dump(front_matter(model, about), sort_keys=False)}---',
        f'# {title}',
        f'A model tuned with {method} by mmsam_peft. Its encoder: {encoder}. '
        + ('It holds all weights.' if _is_whole(model, header) else 'Base weights are not in it.'),
        '![Images and predictions](example.png)' if about.picture else '',
        _use(model, header, about),
        _data(header, about),
        _classes(model, header),
        _scores(header, about),
        _licences(model, header, about),
        _file(header, about),
    ]
    return '\n\n'.join(part for part in parts if part) + '\n'


def front_matter(model: nn.Module, about: About) -> dict:
    """What the hub reads of the card."""
    header = about.header
    base = base_on_hub(model)
    names = [name.rpartition('/')[2] for name in _metrics(header, about)]
    metrics = list(dict.fromkeys(re.sub(r'\W+', '_', name).strip('_').lower() for name in names))
    return dict(
        **(dict(license=about.licence) if about.licence else {}),
        library_name='mmsam_peft',
        pipeline_tag='image-segmentation',
        **(dict(base_model=base, base_model_relation='adapter') if base else {}),
        tags=['segment-anything', 'peft', 'mmsegmentation', header['peft']['type'].lower()],
        **(dict(metrics=metrics) if metrics else {}),
    )


def base_on_hub(model: nn.Module) -> str | None:
    """OWNER/NAME of the base model on the hub, where it is known."""
    checkpoint = str(model.checkpoint or model.backbone.checkpoint or '')
    address = checkpoint
    if model.variant is not None and checkpoint in ('', model.variant.address):
        address = model.variant.address or ''
    if address.startswith(SCHEME):
        return parsed(address).repository
    if found := re.match(r'https://huggingface\.co/([\w.-]+/[\w.-]+)/', address):
        return found[1]
    if found := re.fullmatch(r'.*/(sam2(?:\.1)?)_hiera_(\w+?)(_plus|)\.pt', address):
        return f'facebook/{found[1]}-hiera-{found[2]}{found[3].replace("_", "-")}'
    if 'dl.fbaipublicfiles.com/segment_anything/' in address:
        return next((ON_HUB[name] for name in ON_HUB if f'/{name}_' in address), None)
    return None


def _is_whole(model: nn.Module, header: dict) -> bool:
    return not frozen(model).keys() - set(header.get('tensors', ()))


def _use(model: nn.Module, header: dict, about: About) -> str:
    name = f'{SCHEME}{about.repository}' if about.repository else 'adapter.safetensors'
    base = header.get('base_weights') or {}
    given = [f"'{name}'"] if header.get('recipe') else ["'config.py'", f"'{name}'"]
    where, comes_along = '', str(base.get('name')).startswith(ASSET)
    if base.get('published') and not comes_along:
        where = 'Its base weights are downloaded from where their authors publish them.'
    elif not _is_whole(model, header) and not comes_along:
        given.append(f"checkpoint='{base.get('name', 'BASE WEIGHTS')}'")
        where = 'Its base weights have to be there; their hash is checked.'
    return (
        '## Use\n\n```python\nfrom mmsam_peft.apis import init_model, predict\n'
        f'model = init_model({", ".join(given)})\n'
        "list(predict(model, 'images', 'outputs'))  # outputs/masks, outputs/overlays\n```\n\n"
        f'{where}'
    ).rstrip()


def _data(header: dict, about: About) -> str:
    images = (header.get('data') or {}).get('images') or {}
    counts = ', '.join(f'{number} for {name}' for name, number in images.items())
    sentences = [
        _sentence(about.data or 'The author says nothing about the data'),
        f'Numbers of images: {counts}.' if counts else '',
        f'The network sees {header["img_size"][0]} x {header["img_size"][1]} pixels.',
        'It reads images of other than 8 bits: `pixels` of the config.'
        if header.get('pixels')
        else '',
    ]
    return '## Data\n\n' + ' '.join(sentence for sentence in sentences if sentence)


def _classes(model: nn.Module, header: dict) -> str:
    if isinstance(model, MultiTaskSegmentor):
        lines = [f'* {name}: {type(task).__name__}' for name, task in model.tasks.items()]
        return '## Tasks\n\n' + '\n'.join(lines)
    names, palette = header['classes'] or [], header['palette'] or []
    colours = [f'#{red:02x}{green:02x}{blue:02x}' for red, green, blue in palette]
    lines = [
        f'| {number} | {_cell(name)} | {colours[number] if colours else ""} |'
        for number, name in enumerate(names[:MOST_CLASSES])
    ]
    if len(names) > MOST_CLASSES:
        lines.append(f'| ... | {len(names) - MOST_CLASSES} more | |')
    head = '## Classes\n\n| number in masks | class | colour |\n|---|---|---|\n'
    return head + '\n'.join(lines) if names else ''


def _sentence(text: str) -> str:
    return text if text.rstrip().endswith(('.', '!', '?')) else f'{text.rstrip()}.'


def _cell(text: str) -> str:
    return ' '.join(str(text).split()).replace('|', '\\|')


def _metrics(header: dict, about: About) -> dict[str, float]:
    return {**((header.get('scores') or {}).get('metrics') or {}), **about.test_scores}


def _scores(header: dict, about: About) -> str:
    found = header.get('scores') or {}
    validation, test = found.get('metrics') or {}, about.test_scores
    if not validation and not test:
        return '## Scores\n\nNone: the file does not say how good it is.'
    lines = [
        f'| {name} | {_number(validation.get(name))} | {_number(test.get(name))} |'
        for name in {**validation, **test}
    ]
    of_these = found.get('of_these_weights', True)
    chosen = f', the best of the training, at epoch {found["epoch"]}' if 'epoch' in found else ''
    note = '' if of_these else ' Other weights of the same training had it; these are its last.'
    return (
        f'## Scores\n\nOn the validation set{chosen}; it chose the weights, so that it is '
        f'flattering.{note} As the author measured them.\n\n| metric | validation | test |\n'
        '|---|---|---|\n' + '\n'.join(lines)
    )


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.2f}'


def _licences(model: nn.Module, header: dict, about: About) -> str:
    own = f'The adapter: {about.licence}.' if about.licence else 'The author gives no licence.'
    base = header.get('base_weights')
    if not base:
        return f'## Licences\n\n{own}'
    if base['name'].startswith(ASSET):
        return f'## Licences\n\n{own} The base weights come with mmsam_peft.'
    licence = base.get('licence') or (model.variant.licence if base.get('published') else None)
    known = licence or 'ask whoever publishes them'
    return f'## Licences\n\n{own} The base weights, {base["name"]}, have their own: {known}.'


def _file(header: dict, about: About) -> str:
    made = (header.get('provenance') or {}).get('packages') or {}
    versions = ', '.join(f'{name} {version}' for name, version in made.items() if version)
    config = (
        'the config of the training' if about.own_config else 'a config that predicts, without data'
    )
    lines = [
        f'* `adapter.safetensors`: {about.size / 1e6:.1f} MB, SHA-256 `{about.digest}`',
        f'* hash of its content, checked whenever it is opened: `{header.get("sha256", "")}`',
        f'* hash of the base weights: `{header["base"]}`',
        f'* `config.py`: {config}',
        f'* made with {versions}' if versions else '',
    ]
    return '## Files\n\n' + '\n'.join(line for line in lines if line)
