"""Filters of states, one file each."""
