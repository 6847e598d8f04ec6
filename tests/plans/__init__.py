"""Which index each statement of a store reads, and how much of it: what the store sends is caught and explained."""
