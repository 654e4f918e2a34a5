"""Random effects and covariates: how series of a known system differ."""
