"""The demo: set the stage, run a worker, check the books, say what happened."""
