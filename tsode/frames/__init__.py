"""The border between pandas and the core: reading, writing, scaling and splitting."""

from tsode.frames.events import EventTable
from tsode.frames.schedule import Schedule, read_schedule

__all__ = ["EventTable", "Schedule", "read_schedule"]
