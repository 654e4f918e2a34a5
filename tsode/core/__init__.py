"""Containers that every layer shares: timelines, series, batches, covariates, events, paths, forecasts, status."""
