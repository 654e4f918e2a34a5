"""Noise of observed channels, one file each."""
