"""Files of weights on Hugging Face's hub, ``hf://OWNER/NAME[/FILE][@REVISION]``. Downloads lie in
the hub's own cache and need no network again."""

import hashlib
import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import NamedTuple

SCHEME = 'hf://'
FORM = f'{SCHEME}OWNER/NAME, {SCHEME}OWNER/NAME/FILE, or either with @REVISION at its end'
MODELS = ('model.safetensors', 'model.safetensors.index.json')
"""What the one model of a repository is called, in one file or in several."""
SUFFIXES = ('.safetensors', '.safetensors.index.json', '.pth', '.pt', '.bin')
"""Of files that may be named: all are opened without running code."""


class Address(NamedTuple):
    """Where a file of weights is."""

    repository: str
    file: str | None = None
    revision: str | None = None

    @property
    def page(self) -> str:
        """Where a browser finds the repository."""
        return f'https://huggingface.co/{self.repository}'


def parsed(address: str) -> Address:
    """ValueError when ``address`` is none of ours, or names a file that holds no weights."""
    found = re.fullmatch(
        rf'{SCHEME}([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@([\w./-]+))?', address, re.ASCII
    )
    if not found:
        raise ValueError(f'{address} is no address of the hub: expected {FORM}.')
    place = Address(*found.groups())
    if place.file and (
        not place.file.endswith(SUFFIXES) or {'', '.', '..'} & set(place.file.split('/'))
    ):
        raise ValueError(
            f'{address}: {place.file} is no file of weights, which end in {" ".join(SUFFIXES)}. '
            'Only these are fetched.'
        )
    return place


def page_of(address: str) -> str:
    """Where a browser finds what is at an address; those of other schemes stay."""
    return parsed(address).page if address.startswith(SCHEME) else address


def name_of(address: str) -> str:
    """The bare name of what is at an address of the hub: of the file, else of the repository."""
    place = parsed(address)
    return (place.file or place.repository).rpartition('/')[2]


def fetch(address: str, local_only: bool = False) -> Path:
    """The file of weights at an address, downloaded once into the hub's cache: FILE, or without one
    the repository's model, or its only safetensors file. Of an index, the parts are fetched too.

    Args:
        local_only: Without a download.

    Raises:
        ImportError: Hugging Face's client is not installed.
        FileNotFoundError: No such repository, revision or file; it is private, or given to those
            who ask for it only; there is no network, and the cache does not have it.
        ValueError: No address; several files, of which one has to be named; a file whose content
            has not the hash that the hub names.
    """
    place = parsed(address)
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{address}: downloads from there need Hugging Face's client: "
            "pip install 'mmsam_peft[share]', or pip install -e '.[share]' in a copy of the "
            'project.'
        ) from error
    if place.file is None:
        place = place._replace(file=_chosen(_names(address, place, local_only), address))
    path = _file(address, place, local_only)
    if path.name.endswith('.index.json'):
        commit = _commit(path)
        for part in _parts(path):
            beside = f'{place.file.rpartition("/")[0]}/{part}'.lstrip('/')
            _file(address, place._replace(file=beside, revision=commit), local_only)
    return path


def _names(address: str, place: Address, local_only: bool) -> list[str]:
    """The files of a repository; without a network, those that the cache has."""
    from huggingface_hub import HfApi, snapshot_download

    fault = None
    if not local_only:
        try:
            found = HfApi().model_info(place.repository, revision=place.revision)
            return [one.rfilename for one in found.siblings]
        except Exception as error:  # of the client and of the library below it, by version
            fault = error
            _raise_answer(address, place, error)
    try:
        folder = snapshot_download(
            place.repository, revision=place.revision, local_files_only=True, allow_patterns=[]
        )
    except Exception as error:
        raise _not_reached(address, place, fault or error) from error
    top = Path(folder)
    return [path.relative_to(top).as_posix() for path in top.rglob('*.*')]


def _chosen(names: Collection[str], address: str) -> str:
    """The file that is meant where none is named."""
    for name in MODELS:
        if name in names:
            return name
    found = sorted(name for name in names if name.endswith('.safetensors'))
    if len(found) == 1:
        return found[0]
    base, at, revision = address.partition('@')
    if found:
        raise ValueError(
            f'{address} has {len(found)} files of weights, {_listed(found)}: name one, such as '
            f'{base}/{found[0]}{at}{revision}.'
        )
    others = sorted(name for name in names if name.endswith(SUFFIXES))
    named = f' Of other kinds it has {_listed(others)}: name one.' if others else ''
    raise FileNotFoundError(
        f'{address} has no safetensors files: {page_of(address)} says what it has.{named}'
    )


def _file(address: str, place: Address, local_only: bool) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        path = Path(
            hf_hub_download(
                place.repository, place.file, revision=place.revision, local_files_only=local_only
            )
        )
    except Exception as error:  # of the client and of the library below it, by version
        _raise_answer(address, place, error)
        raise _not_reached(address, place, error) from error
    if not local_only:
        _check_hash(address, path)
    return path


def _check_hash(address: str, path: Path) -> None:
    """Raises ValueError when a file of the cache has not the SHA-256 that the hub gave, which the
    cache calls large files by."""
    blob = path.resolve()
    if re.fullmatch('[0-9a-f]{64}', blob.name):
        status = blob.stat()
        if _sha256(blob, status.st_size, status.st_mtime_ns) != blob.name:
            raise ValueError(
                f'{address}: {blob} has not the hash that the hub names. It was cut off or '
                'changed: delete it, and start again.'
            )


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open('rb') as file:
        digest = hashlib.sha256()
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def _parts(index: Path) -> list[str]:
    """The files that an index names; none where it is malformed, which reading it will say."""
    try:
        return sorted(set(json.loads(index.read_text())['weight_map'].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _commit(path: Path) -> str:
    """Of a file in the hub's cache."""
    return path.parts[path.parts.index('snapshots') + 1]


def _raise_answer(address: str, place: Address, error: Exception) -> None:
    """Raises FileNotFoundError where the hub answered that it does not give this."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        raise FileNotFoundError(
            f'The weights of {address} are given to those who ask for them: accept their licence '
            f'at {place.page}, log in by `hf auth login`, and start again; or name a file of them '
            'that is here.'
        ) from error
    if isinstance(error, errors.RepositoryNotFoundError):
        raise FileNotFoundError(
            f'The hub has no {place.repository}, or it is private: look at {place.page}, and log '
            'in by `hf auth login` if it is yours.'
        ) from error
    if isinstance(error, errors.RevisionNotFoundError):
        raise FileNotFoundError(
            f'{place.repository} has no revision {place.revision}: give a branch, a tag or a '
            f'commit of {place.page}/commits, or none. Expected {FORM}.'
        ) from error
    missing = isinstance(error, errors.EntryNotFoundError)
    if missing and not isinstance(error, errors.LocalEntryNotFoundError):
        raise FileNotFoundError(
            f'{place.repository} has no file {place.file}: {place.page}/tree/'
            f'{place.revision or "main"} says what it has.'
        ) from error


def _not_reached(address: str, place: Address, error: Exception) -> FileNotFoundError:
    said = ' '.join(str(error).split())[:160]
    return FileNotFoundError(
        f'Cannot download {address} ({type(error).__name__}: {said}), and the cache does not have '
        f'it. Download it from {place.page} elsewhere, and name its path in place of the address '
        '(such as --cfg-options model.checkpoint=PATH); or fetch it where there is a network, and '
        'take its cache along (HF_HOME).'
    )


def _listed(names: list[str]) -> str:
    return ', '.join(names[:8]) + (f' and {len(names) - 8} more' if len(names) > 8 else '')
