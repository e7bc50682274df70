"""The ends of jobs that run outside: callbacks that are safe to repeat, and to arrive in any order or late."""

from ._async_jobs import AsyncJobs
from ._jobs import Jobs
from ._results import Settlement

__all__ = ["AsyncJobs", "Jobs", "Settlement"]
