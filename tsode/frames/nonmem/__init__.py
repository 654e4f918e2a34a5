"""NONMEM's convention of data: tables of records read into frames of observations, events and covariates, and back."""

from tsode.frames.nonmem.data import NonmemData, read_nonmem
from tsode.frames.nonmem.events import events_from_nonmem, observations_from_nonmem, to_nonmem

__all__ = ["NonmemData", "events_from_nonmem", "observations_from_nonmem", "read_nonmem", "to_nonmem"]
