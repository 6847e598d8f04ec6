"""A TCP proxy in front of a server: it can delay, go silent, reset, and swallow replies.

It listens on a free port of the loopback interface, with a loop and a thread of its own. What it does to each piece of
data is decided when the piece passes, so a fault begins and ends for connections that are open.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

PIECE = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, no seconds


class Proxy:
    """Between clients and the server on the unix socket `server`. The faults may be called from any thread."""

    def __init__(self, server: Path, writes: bytes) -> None:
        """`writes`: a regular expression of requests that change something; the replies to these can be swallowed."""
        self.server = server
        self._writes = re.compile(writes)
        self._loop = asyncio.new_event_loop()
        self._pairs: set[Pair] = set()
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)
        self.delay = 0.0
        self.replies_to_swallow = 0
        self.touched = 0
        """How many pieces of data, or connections, the present fault has met."""

    def start(self) -> None:
        self._thread.start()
        self._do(self._listen())

    async def _listen(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        return self._listener.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.heal()
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        self._listener.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    # -- faults: each sets `touched` to 0 ------------------------------------------------------------------------------

    def slow_down(self, seconds: float) -> None:
        self.touched, self.delay = 0, seconds

    def go_silent(self) -> None:
        """Connections stay open and new ones are accepted; nothing passes, and what is held back arrives in the end."""
        self.touched = 0
        self._loop.call_soon_threadsafe(self._open.clear)

    def reset(self) -> None:
        """Every connection ends with RST."""
        self.touched = 0
        self._do(self._reset())

    async def _reset(self) -> None:
        for pair in list(self._pairs):
            self.touched += 1
            pair.abort()

    def swallow_replies(self, count: int) -> None:
        """The next so many requests that write are carried out; their connections end before the answer."""
        self.touched, self.replies_to_swallow = 0, count

    def heal(self) -> None:
        self.delay, self.replies_to_swallow = 0.0, 0
        self._loop.call_soon_threadsafe(self._open.set)

    # -- data ----------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_unix_connection(str(self.server))
        except OSError:
            writer.transport.abort()
            return
        pair = Pair(writer, upstream[1])
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._requests(reader, pair), self._replies(upstream[0], pair))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _requests(self, reader: asyncio.StreamReader, pair: Pair) -> None:
        while piece := await reader.read(PIECE):
            await self._pass()
            if self.replies_to_swallow > 0 and self._writes.search(piece):
                self.replies_to_swallow -= 1
                pair.is_mute = True
            pair.server.write(piece)
            await pair.server.drain()
        pair.server.write_eof()

    async def _replies(self, reader: asyncio.StreamReader, pair: Pair) -> None:
        while piece := await reader.read(PIECE):
            await self._pass()
            if pair.is_mute:
                self.touched += 1
                break
            pair.client.write(piece)
            await pair.client.drain()
        pair.abort()

    async def _pass(self) -> None:
        if self.delay:
            self.touched += 1
            await asyncio.sleep(self.delay)
        if not self._open.is_set():
            self.touched += 1
            await self._open.wait()

    def _do(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)


class Pair:
    """A client and its connection to the server. `is_mute`: the next reply is swallowed."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_mute = False

    def abort(self) -> None:
        wire = self.client.get_extra_info("socket")
        if wire is not None and wire.fileno() >= 0:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.client.transport.abort()
        self.server.transport.abort()
