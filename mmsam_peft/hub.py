"""Weights on Hugging Face's hub, ``hf://OWNER/NAME``: safetensors files, and nothing that could run
code."""

from pathlib import Path

SCHEME = 'hf://'
FILES = ('*.safetensors', '*.safetensors.index.json')


def page_of(address: str) -> str:
    """Where a browser finds what is at an address; those of other schemes stay."""
    if not address.startswith(SCHEME):
        return address
    return f'https://huggingface.co/{address.removeprefix(SCHEME)}'


def fetch(address: str, local_only: bool = False) -> Path:
    """The folder with the weights of ``hf://OWNER/NAME``, downloaded once into the hub's cache.

    Args:
        local_only: Without a download.

    Raises:
        ImportError: Hugging Face's client is not installed.
        FileNotFoundError: The weights are not there, are given to those who ask for them only, or
            there is no network.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError
    except ImportError as error:
        raise ImportError(
            f"{address}: downloads from there need Hugging Face's client: "
            "pip install 'mmsam_peft[hf]', or pip install -e '.[hf]' in a copy of the project."
        ) from error
    name = address.removeprefix(SCHEME)
    page = page_of(address)
    try:
        place = snapshot_download(name, allow_patterns=list(FILES), local_files_only=local_only)
    except GatedRepoError as error:
        raise FileNotFoundError(
            f'The weights of {address} are given to those who ask for them: accept their licence '
            f'at {page}, log in by `hf auth login`, and start again; or name a file of them that '
            'is here (--cfg-options model.checkpoint=PATH).'
        ) from error
    except (OSError, ValueError) as error:  # no network, no such name, or no name at all
        raise FileNotFoundError(
            f'Cannot download {address} ({str(error).splitlines()[0][:200]}). Download '
            f'model.safetensors from {page} elsewhere, and name its path in the config '
            '(--cfg-options model.checkpoint=PATH).'
        ) from error
    if not any(Path(place).glob('*.safetensors')):
        raise FileNotFoundError(f'{address} has no safetensors files: {page} says what it has.')
    return Path(place)
