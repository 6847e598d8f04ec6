"""Pictures of the admin, no tests: `make screenshots` writes docs/screenshots/*.png."""
