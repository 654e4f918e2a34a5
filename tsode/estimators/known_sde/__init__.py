"""Forecaster of equations whose rates have noise."""
