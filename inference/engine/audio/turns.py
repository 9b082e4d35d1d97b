"""Whose job goes on: between users by the time worked for them so far, within a user in order."""

from dataclasses import dataclass, field

from inference.engine.audio.job import AudioJob

MOST_BEGUN = 8
"""Jobs that are under way at once: each holds its sound, and what the model has made of it."""


@dataclass(slots=True)
class Turns:
    """One user's jobs, the oldest first, and the seconds worked for them."""

    served: float = 0.0
    jobs: list[AudioJob] = field(default_factory=list)


class Waiting:
    """most_begun: jobs that may be under way at once; 1 for a model that keeps something of its own between steps."""

    def __init__(self, most_begun: int = MOST_BEGUN) -> None:
        self._most_begun = most_begun
        self._users: dict[str, Turns] = {}

    def add(self, job: AudioJob) -> None:
        busy = [turns.served for turns in self._users.values() if turns.jobs]
        turns = self._users.setdefault(job.request.user, Turns())
        if not turns.jobs and busy:
            # Who was away starts level with those that wait: absence saves nothing up.
            turns.served = max(turns.served, min(busy))
        turns.jobs.append(job)

    def remove(self, job: AudioJob) -> None:
        turns = self._users.get(job.request.user)
        if turns is not None and job in turns.jobs:
            turns.jobs.remove(job)
        if not any(each.jobs for each in self._users.values()):
            # Nobody is here: everyone would start level, so nothing needs to be remembered.
            self._users.clear()

    def next(self) -> AudioJob | None:
        """The job that the next step is for."""
        heads = [turns for turns in self._users.values() if turns.jobs]
        begun = [turns for turns in heads if turns.jobs[0].pieces is not None]
        if len(begun) >= self._most_begun:
            heads = begun
        return min(heads, key=lambda turns: turns.served).jobs[0] if heads else None

    def bill(self, job: AudioJob, seconds: float) -> None:
        self._users[job.request.user].served += seconds
