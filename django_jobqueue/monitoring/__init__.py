"""What we see: nothing depends on it."""
