"""Parts of large files: where each begins and ends, to be read when it is needed.

So the annotations of 100 000 images take no memory, and the workers of a data loader share none.
"""

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

SPACE = re.compile(r'[\s,:]*')
BYTE_ORDER = '\xef\xbb\xbf'
"""The mark that UTF-8 may begin with."""
Span = tuple[int, int]


@dataclass(frozen=True)
class SpanFile:
    """A file of which parts are read later. ValueError when it has changed by then."""

    path: Path
    state: tuple[int, int]

    @classmethod
    def of(cls, path: Path) -> 'SpanFile':
        return cls(path, _state(path))

    def read(self, *spans: Span) -> list[bytes]:
        if _state(self.path) != self.state:
            raise ValueError(f'{self.path} has changed since it was opened: start again')
        with self.path.open('rb') as file:
            return [_read(file, *span) for span in spans]


def json_parts(path: Path, ids_only: str | None = None) -> Iterator[tuple[str, object, Span]]:
    """(key, value, span) of each entry of each list in the outermost object of a JSON file, and of
    its other values; where the outermost is a list, of its entries, with an empty key.

    Args:
        ids_only: the key of a list whose texts are not needed, which then may come out wrong.

    Raises:
        ValueError: the file is no complete JSON of that kind.
    """
    if not path.stat().st_size:
        raise ValueError(f'{path}: got an empty file, expected JSON')
    with path.open('rb') as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        text = str(content, 'latin-1')  # a character for each byte: places in both are the same
    begin, plain = len(BYTE_ORDER) * text.startswith(BYTE_ORDER), text.isascii()
    try:
        for key, value, span in _parts(text, begin):
            if not plain and (key != ids_only or ids_only is None):
                value = json.loads(text[slice(*span)].encode('latin-1'))
            yield key, value, span
    except (json.JSONDecodeError, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f'{path}: got no complete JSON ({error}): export it again') from None


def _parts(text: str, at: int) -> Iterator[tuple[str, object, Span]]:
    decoder = json.JSONDecoder()
    at = SPACE.match(text, at).end()
    if text[at] == '[':
        yield from _entries(decoder, '', text, at)
        return
    if text[at] != '{':
        raise json.JSONDecodeError('expected a list or an object', '', 0)
    at = SPACE.match(text, at + 1).end()
    while text[at] != '}':
        key, at = decoder.raw_decode(text, at)
        at = SPACE.match(text, at).end()
        if text[at] == '[':
            at = yield from _entries(decoder, key, text, at)
        else:
            begin = at
            value, at = decoder.raw_decode(text, at)
            yield key, value, (begin, at)
        at = SPACE.match(text, at).end()


def _entries(
    decoder: json.JSONDecoder, key: str, text: str, at: int
) -> Generator[tuple[str, object, Span], None, int]:
    """Those of the list that begins at a place; returns where it ends."""
    at = SPACE.match(text, at + 1).end()
    while text[at] != ']':
        begin = at
        value, at = decoder.raw_decode(text, at)
        yield key, value, (begin, at)
        at = SPACE.match(text, at).end()
    return at + 1


def xml_parts(path: Path, *tags: str) -> Iterator[tuple[str, Span]]:
    """The tags and spans of all elements of these names, none of which lies in another.

    Raises:
        ValueError: the file is no complete XML, or has a document type, which could hide anything.
    """
    found, begun = [], []
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict) -> None:
        if tag in tags:
            begun.append(parser.CurrentByteIndex)

    def end(tag: str) -> None:
        if tag in tags:
            found.append((tag, (begun.pop(), parser.CurrentByteIndex)))

    def refuse(*_) -> None:
        raise ValueError(f'{path}: got XML with a document type, expected none')

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    with path.open('rb') as file:
        try:
            while block := file.read(1 << 20):
                parser.Parse(block, False)
                yield from found
                found.clear()
            parser.Parse(b'', True)
        except expat.ExpatError as error:
            raise ValueError(f'{path}: got no complete XML ({error}): export it again') from None
    yield from found


def element(content: bytes, tag: str) -> ElementTree.Element:
    """The element of a span, which ends before the closing tag, where there is one."""
    try:
        return ElementTree.fromstring(content + f'</{tag}>'.encode())
    except ElementTree.ParseError:
        return ElementTree.fromstring(content)


def _read(file, begin: int, end: int) -> bytes:
    file.seek(begin)
    return file.read(end - begin)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
