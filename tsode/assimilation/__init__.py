"""Assimilation: filters and smoothers of states, and parameters, of dynamics that are uncertain themselves."""
