"""Label Studio's run lengths of brush strokes.

Source: @thi.ng/rle-pack, which Label Studio writes with. A stream of bits, the highest first:
32 for the number of words, 5 for the bits of a word less 1, four times 4 for the bits of a length
less 1. Then blocks: one bit, 2 to choose among the four, so many bits for the length less 1; where
the first bit is set one word, repeated, otherwise as many words as the length says. A word is one
of a pixel's four channels, RGBA, row by row.
"""

import numpy as np

CHANNELS = 4


def decode_brush(stored: list[int], height: int, width: int) -> np.ndarray:
    """Where a stroke is: bool (H, W).

    Args:
        stored: bytes as numbers.

    Raises:
        ValueError: they are no such stream, or of another number of pixels.
    """
    try:
        bits = _Bits(np.array(stored, np.uint8))
    except (OverflowError, TypeError, ValueError):
        raise ValueError('got a brush that is no list of bytes') from None
    number = bits.read(32)
    if number != height * width * CHANNELS:
        raise ValueError(f'got a brush of {number // CHANNELS} pixels, expected {width} x {height}')
    word = bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    if word > 8:
        raise ValueError(f'got a brush of {word} bits a channel, expected 8')
    values, done = np.zeros(number, np.uint8), 0
    while done < number:
        repeated = bits.read(1)
        length = bits.read(lengths[bits.read(2)]) + 1
        values[done : done + length] = bits.read(word) if repeated else bits.words(length, word)
        done += length
    return values.reshape(height, width, CHANNELS)[..., CHANNELS - 1] > 0


class _Bits:
    def __init__(self, stored: np.ndarray) -> None:
        self.bits, self.at = np.unpackbits(stored), 0
        self.text = (self.bits + ord('0')).tobytes()  # of which small numbers are made fast

    def read(self, size: int) -> int:
        """A number of ``size`` bits."""
        return int(self.text[self._advance(size)], 2)

    def words(self, count: int, size: int) -> np.ndarray:
        """``count`` numbers of ``size`` bits."""
        taken = self.bits[self._advance(count * size)].reshape(count, size)
        return taken @ (1 << np.arange(size - 1, -1, -1, dtype=np.int64))

    def _advance(self, size: int) -> slice:
        begin, self.at = self.at, self.at + size
        if self.at > len(self.bits):
            raise ValueError('got a brush that ends too early')
        return slice(begin, self.at)
