"""A value of several words in memory that processes share, without a lock: read whole or not at all."""

from __future__ import annotations

from struct import Struct
from typing import Any
from zlib import crc32

WORD = 8
"""Bytes. An aligned word is written, and read, in one go."""
_TRIES = 100


class Block:
    """A value of several words. The writer fills the copy that nobody reads, then turns the sequence number to it.

    A writer that dies meanwhile leaves the old value. The checksum tells a reader that it was overtaken twice, or, on
    machines that reorder writes, that it came early: it looks again.
    """

    def __init__(self, memory: memoryview, start: int, layout: Struct) -> None:
        self._memory = memory
        self._words = memory.cast("Q")
        self._start = start
        self._layout = layout

    @staticmethod
    def size(layout: Struct) -> int:
        return WORD + 2 * _copy_size(layout)

    def write(self, *values: object) -> None:
        body = self._layout.pack(*values)
        turn = self._words[self._start // WORD] + 1
        at = self._copy(turn)
        self._memory[at : at + 4 + len(body)] = crc32(body).to_bytes(4, "little") + body
        self._words[self._start // WORD] = turn

    def read(self) -> tuple[Any, ...] | None:
        """What was written last; None when nothing was, or when it can't be had."""
        for _ in range(_TRIES):
            turn = self._words[self._start // WORD]
            if not turn:
                return None
            at = self._copy(turn)
            raw = bytes(self._memory[at : at + 4 + self._layout.size])
            if crc32(raw[4:]).to_bytes(4, "little") == raw[:4]:
                return self._layout.unpack(raw[4:])
        return None

    def _copy(self, turn: int) -> int:
        return self._start + WORD + (turn & 1) * _copy_size(self._layout)


def _copy_size(layout: Struct) -> int:
    return -(-(4 + layout.size) // WORD) * WORD
