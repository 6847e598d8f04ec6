"""Chaos: real workers and producers on a real store while a seeded nemesis breaks things; then the books are compared.

    python -m tests.chaos --store sqlite --jobs 3000 --faults 50 --seed 7
    python -m tests.chaos --store postgres,mariadb,redis --jobs 100000 --faults 1420

A run has a directory of its own with everything that was said: the producers' ledgers (what was meant, what was
acknowledged), the jobs' log (every start, end and heartbeat), the nemesis' own record, the workers' output, and
`report.json`. It fails when the books don't agree, and when a kind of fault never landed: a run in which nothing
happened proves nothing. The same seed gives the same faults in the same order; when they meet the workers is up to the
machine.
"""
