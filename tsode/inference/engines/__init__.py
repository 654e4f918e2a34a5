"""Engines that answer for a density, one a file."""
