"""Containers that every layer shares: time, batches, paths, beliefs, status, forecasts."""
