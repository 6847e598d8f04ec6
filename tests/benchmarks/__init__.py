"""`python -m tests.benchmarks`: how fast we are, next to django-tasks-db and bare SQL, in one run on one machine."""
