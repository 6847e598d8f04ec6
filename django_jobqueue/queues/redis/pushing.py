"""Jobs on their way into Redis: by the script for one, for many of a task, or for everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.queues.redis import packed, records
from django_jobqueue.queues.redis.scripts import Scripts

PUSH_JOBS, PUSH_BYTES = 1_000, 8_000_000
"""What one script stores at most. A push of more is several, and not all or none."""
FIRST_OF_ITS_KIND = 2
"""What `push_one.lua` and `push_alike.lua` say of jobs whose traits have no number yet."""


class Pusher:
    """Stores jobs now, whatever transaction is open. Raises what `Scripts.run` raises."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def push(self, payloads: Sequence[JobPayload]) -> list[UUID]:
        """The ids that stand for them, in order: a unique key that is taken stands for its holder."""
        if len(payloads) == 1 and payloads[0].is_plain and self._push_plain(payloads[0]):
            return [payloads[0].id]
        ids: list[UUID] = []
        for piece in _pieces([packed.pack_push(job) for job in payloads]):
            ids += packed.unpack_ids(self._scripts.run("push", b"".join(piece)))
        return ids

    def _push_plain(self, job: JobPayload) -> bool:
        """The short way. False: the first of its kind has to go the long one."""
        traits = records.traits_of(job)
        return bool(self._scripts.run("push_one", packed.pack_plain(job), traits) != FIRST_OF_ITS_KIND)

    def push_alike(self, template: JobPayload, ids: Sequence[UUID], calls: Sequence[str]) -> None:
        """A plain job like `template` for each of these ids, which were made for it, and encoded arguments."""
        traits, at = records.traits_of(template), 0
        for piece in _pieces(packed.pack_alike(template, ids, calls)):
            jobs = packed.pack_count(template, len(piece)) + b"".join(piece)
            if self._scripts.run("push_alike", jobs, traits) == FIRST_OF_ITS_KIND:
                here = slice(at, at + len(piece))
                self.push([template.again(*one) for one in zip(calls[here], ids[here], strict=True)])
            at += len(piece)


def _pieces(jobs: Sequence[bytes]) -> Iterator[list[bytes]]:
    piece: list[bytes] = []
    size = 0
    for job in jobs:
        if piece and (len(piece) == PUSH_JOBS or size + len(job) > PUSH_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(job)
        size += len(job)
    yield piece
