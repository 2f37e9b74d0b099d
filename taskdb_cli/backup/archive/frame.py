"""One zstd frame, decompressed block by block.

A block never holds more than 128 KiB, however few bytes it is compressed to, so a bomb is caught
after one block too many. RFC 8878 describes the frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import zstandard

MAX_WINDOW = 8 << 20
"""The most memory, in bytes, that a frame may ask its reader to look back on: what the RFC recommends."""

_MAX_BLOCK = 128 << 10
_MAX_HEADER = 18
_REPEATED_BYTE, _RESERVED = 1, 3


class Source(Protocol):
    """The bytes of a member, in order."""

    remaining: int

    def read(self, size: int) -> bytes:
        """Return the next bytes, all of them; raise ValueError if there are fewer."""

    def peek(self, size: int) -> bytes:
        """Return the next bytes or the fewer that there are, and stay before them."""


def decompressed(source: Source) -> Iterator[bytes]:
    """Yield what one frame holds, in pieces of at most 128 KiB.

    Raises ValueError unless the source is exactly one frame, with a checksum that matches.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
    try:
        decompressor.decompress(source.read(_header_size(source.peek(_MAX_HEADER))))
        last = False
        while not last:
            last, block = _block(source)
            if piece := decompressor.decompress(block):
                yield piece
        decompressor.decompress(source.read(4))
    except zstandard.ZstdError as exc:
        raise ValueError("its zstd frame cannot be decompressed") from exc
    if source.remaining or not decompressor.eof:
        raise ValueError("it does not end where its zstd frame ends")


def _header_size(beginning: bytes) -> int:
    frame = zstandard.get_frame_parameters(beginning)
    if frame.window_size > MAX_WINDOW:
        raise ValueError(f"its zstd frame needs a window of more than {MAX_WINDOW >> 20} MiB")
    if frame.dict_id or not frame.has_checksum:
        raise ValueError("its zstd frame has a dictionary, or no checksum")
    return zstandard.frame_header_size(beginning)


def _block(source: Source) -> tuple[bool, bytes]:
    header = source.read(3)
    fields = int.from_bytes(header, "little")
    last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
    if kind == _RESERVED or size > _MAX_BLOCK:
        raise ValueError("its zstd frame has an impossible block")
    return last, header + source.read(1 if kind == _REPEATED_BYTE else size)
