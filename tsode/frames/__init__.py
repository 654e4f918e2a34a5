"""Frames: pandas and its like read into arrays of the core, and results written back."""

from tsode.frames.events import EventTable
from tsode.frames.nonmem import NonmemData, events_from_nonmem, observations_from_nonmem, read_nonmem, to_nonmem
from tsode.frames.schedule import Schedule, read_schedule
from tsode.frames.tidy import read_tidy

__all__ = [
    "EventTable",
    "NonmemData",
    "Schedule",
    "events_from_nonmem",
    "observations_from_nonmem",
    "read_nonmem",
    "read_schedule",
    "read_tidy",
    "to_nonmem",
]
