"""What a job is: plain values. No ORM, no settings, no I/O."""
