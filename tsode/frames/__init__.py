"""The border between pandas and the core: reading, writing, scaling and splitting."""
