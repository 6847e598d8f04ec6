"""Bugs that other queues have had, or have, put into a copy of this one: the tests must turn red for each.

    python -m tests.seeded_bugs                   all of them, a few minutes
    python -m tests.seeded_bugs no_fence reap     those whose names contain one of these words

A bug is a few changes of text in `bugs.py`, and the narrow tests that should notice. They run on a clean copy first:
tests that are red without the bug prove nothing.
"""
