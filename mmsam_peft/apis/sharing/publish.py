"""A folder that others can use and trust: adapter, config, card, picture; and its upload."""

import copy
import getpass
import hashlib
import json
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config

from ...adapters.file import read_adapter, read_header, write_adapter
from ...adapters.header import ADAPTER, parse_header
from ...adapters.recipe import without_places
from ...evaluation.record import read_record
from ...models.backbones.variants import PUBLISHED
from ...registry import DATASETS
from ...safe_load import local_weights
from ...visualization.masks import write_picture
from ...visualization.report.work_dir import FOLDER as REPORT
from ...whole_files import write_whole
from ..configs import read_config
from ..from_header import config_from_header, frozen, skeleton
from ..inference import init_model
from .card import About, card
from .example_panels import example_panels

FILES = ('adapter.safetensors', 'config.py', 'README.md', 'example.png')
MOST = 4
"""Images in the picture."""
COMMON_USERS = ('root', 'user', 'ubuntu', 'admin', 'jovyan')
"""Names of users that say nothing of a person, and are words."""
ON_DISK = 'file://'
PATH = re.compile(
    r'(?<![\w:/.~<-])(?:~|/[\w.-]+)(?:/[\w.-]+)+'
    rf'|{ON_DISK}\S+'
    r'|(?<!\w)[A-Za-z]:[\\/]+(?:[\w .-]+[\\/]+)+\w+'  # of Windows
    r'|\w+://[^\s/@\'"]+@'  # a name, and perhaps a password
)


def publish(
    adapter: str,
    out: str | Path,
    config: str | None = None,
    checkpoint: str | None = None,
    images: Iterable[Path] = (),
    validation_images: bool = False,
    licence: str | None = None,
    data: str | None = None,
    repository: str | None = None,
) -> list[str]:
    """Writes ``adapter.safetensors``, ``config.py``, ``README.md`` and, of images, ``example.png``
    into ``out``. The model is built from the first two, and has to fit.

    The adapter's bytes stay as they are, unless its header names a place on this disk: then that
    text is cut, and the header sealed again.

    Args:
        config: The training's; by default the header's own, which predicts and does not train.
        checkpoint: The base weights, see ``init_model``.
        images: To be shown with their predictions. Everyone will see them.
        validation_images: Show some of the config's validation set.
        licence: Of the adapter, as the hub abbreviates it: 'apache-2.0', 'cc-by-4.0'.
        data: What it was trained on, in words.
        repository: OWNER/NAME, for the lines that say how to use it.

    Returns:
        What a user may want to add, in sentences.

    Raises:
        FileNotFoundError, ValueError: See ``init_model``; a text that names a place on this disk, a
            user or this machine; no validation set.
        FileExistsError: ``out`` holds other files.
    """
    out, path = Path(out), Path(local_weights(adapter))
    if foreign := sorted({one.name for one in _files(out)} - set(FILES)):
        raise FileExistsError(f'{out} holds {foreign[0]}: give a new or an empty folder.')
    tensors, metadata = read_adapter(path)
    header = parse_header(metadata[ADAPTER], path)
    clean = {key: _without_places(value) for key, value in header.items()}
    made = standing_alone(config, path, header)
    tried = copy.deepcopy(made)
    if not frozen(skeleton(path, made, None)).keys() - tensors.keys():  # it holds all weights
        tried.model.checkpoint = None
        made.model.checkpoint = made.model.checkpoint if config else None
    model = init_model(tried, path, 'cpu', checkpoint=checkpoint)

    owner = (repository or '').partition('/')[0]
    for name, text in (
        ('The header', json.dumps(clean)),
        ('The config', made.pretty_text),
        ('What you wrote', f'{licence} {data} {repository}'),
    ):
        require_nothing_private(name, text, owner)

    shown = [Path(one) for one in images][:MOST]
    if validation_images:
        shown += _validation_images(config)
    place = out / FILES[0]
    out.mkdir(parents=True, exist_ok=True)
    if clean == header:
        write_whole(place, path.read_bytes())
    else:
        write_adapter(tensors, clean, place)
    (out / 'example.png').unlink(missing_ok=True)
    if shown:
        write_picture(example_panels(model, shown), out / 'example.png')
    about = About(
        read_header(place),
        hashlib.sha256(place.read_bytes()).hexdigest(),
        place.stat().st_size,
        licence,
        data,
        repository,
        bool(shown),
        config is not None,
        _test_scores(path),
    )
    write_whole(out / 'config.py', made.pretty_text.encode())
    write_whole(out / 'README.md', card(model, about).encode())
    return _advice(licence, data, shown)


def _test_scores(adapter: Path) -> dict[str, float]:
    """Of the test of an adapter in its work directory, as far as it was made after the adapter."""
    place = adapter.parent / REPORT / 'test.npz'
    if not place.is_file() or place.stat().st_mtime < adapter.stat().st_mtime:
        return {}
    info = read_record(place).info
    return dict(info['scores']) if info.get('weights') == adapter.name else {}


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def standing_alone(config: str | None, adapter: Path, header: dict) -> Config:
    """A config without bases and without places on this disk; base weights are named as others
    find them.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: The header does not suffice without a config.
    """
    cfg = read_config(config) if config else config_from_header(adapter, header)
    base = header.get('base_weights') or {}
    checkpoint = cfg.model.get('checkpoint')
    if base.get('published'):
        checkpoint = PUBLISHED
    elif not checkpoint or '://' not in str(checkpoint):
        checkpoint = base.get('name')
    made = {
        key: value
        for key, value in cfg.to_dict().items()
        if key not in ('work_dir', 'load_from', 'resume', 'launcher')
    }
    made = _without_places(made)
    made['model']['checkpoint'] = checkpoint
    return Config(made)


def _without_places(value):
    """Of files and folders outside the current one, their names; addresses stay."""
    if isinstance(value, dict):
        return {key: _without_places(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_without_places, value))
    if isinstance(value, str) and '://' not in value.removeprefix(ON_DISK):
        return without_places(value.removeprefix(ON_DISK))
    return value


def require_nothing_private(name: str, text: str, owner: str = '') -> None:
    """Raises ValueError when a text has a path, the user's name or that of this machine; ``owner``
    of the repository may be the user."""
    words = {Path.cwd().as_posix(), socket.gethostname()} - {'/', 'localhost'}
    with suppress(KeyError, OSError, RuntimeError):  # a container may not know its user
        words |= {Path.home().as_posix()} - {'/'}
        words |= {getpass.getuser()} - {*COMMON_USERS, owner}
    found = [word for word in words if re.search(rf'(?<!\w){re.escape(word)}(?!\w)', text)]
    found += PATH.findall(text)
    if found:
        raise ValueError(
            f'{name} would tell {found[0]!r} to everyone, so that nothing was written. Remove it '
            'there; a config of fewer words is that of the header, without --config.'
        )


def _validation_images(config: str | None) -> list[Path]:
    """Some images of the config's validation set, spread over it."""
    loader = read_config(config).get('val_dataloader') if config else None
    if not loader:
        raise ValueError(
            'Validation images are those of a config: give one that has a set of them.'
        )
    dataset = DATASETS.build(loader.dataset)
    step = max(1, len(dataset) // MOST)
    numbers = range(0, len(dataset), step)[:MOST]
    return [Path(dataset.get_data_info(number)['img_path']) for number in numbers]


def _advice(licence: str | None, data: str | None, shown: list[Path]) -> list[str]:
    said = []
    if not licence:
        said.append('No licence: others may not use it. Give one, such as --license apache-2.0.')
    if not data:
        said.append('No word about the data: say what it was trained on by --data "...".')
    if not shown:
        said.append('No picture: give images that everyone may see, --images or --val-images.')
    return said


def upload(folder: str | Path, repository: str, public: bool = False) -> str:
    """Uploads a folder that ``publish`` made to Hugging Face's hub, into a repository that is
    private unless ``public``; it is made if need be. The token is that of ``hf auth login``, or
    ``HF_TOKEN``. Returns the address of the commit.

    Raises:
        ImportError: Hugging Face's client is not installed.
        PermissionError: Not logged in, or not allowed to write there.
        ConnectionError: The hub cannot be reached.
        ValueError: No such name; the repository is public, and ``public`` was not asked for.
    """
    if not re.fullmatch(r'[\w-][\w.-]*/[\w.-]+', repository, re.ASCII):
        raise ValueError(f'{repository!r} is no name of a repository: expected OWNER/NAME.')
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
    except ImportError as error:
        raise ImportError(
            "Uploads need Hugging Face's client: pip install 'mmsam_peft[share]', or pip install "
            "-e '.[share]' in a copy of the project."
        ) from error
    api = HfApi()
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        if not public and not api.model_info(repository).private:
            raise ValueError(
                f'{repository} is there already and public: give --public if everyone may see '
                'this, or another name.'
            )
        done = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message='Adapter of mmsam_peft',
        )
    except LocalTokenNotFoundError as error:
        raise PermissionError(
            f'{repository}: log in by `hf auth login`, or set HF_TOKEN.'
        ) from error
    except HfHubHTTPError as error:
        code = getattr(error.response, 'status_code', None)
        if code in (401, 403):
            raise PermissionError(
                f'The hub does not let you write to {repository} ({code}): log in by `hf auth '
                'login` with a token that may write, and name a repository of your own.'
            ) from error
        raise
    except ValueError:
        raise
    except Exception as error:  # of the library below the client, by version
        raise ConnectionError(
            f'Cannot reach the hub ({type(error).__name__}: {str(error)[:160]}). {folder} is '
            'complete: upload it later by the same command.'
        ) from error
    return str(done.commit_url)
