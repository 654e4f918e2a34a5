"""Training: windows of series, objectives, the one loop, calibration."""
