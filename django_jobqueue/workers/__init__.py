"""Who runs it: the worker, and the execution of one job."""
