"""The store in Redis or Valkey: each verb is one script."""

from __future__ import annotations

from django_jobqueue.queues.redis.queue import RedisQueue

__all__ = ["RedisQueue"]
