"""Fit of structural models: problems of many structures, starts and series at once."""
