"""What may be wrong between us and an engine."""


class EngineError(Exception):
    """Something is wrong between us and an engine."""


class EngineUnavailable(EngineError):
    """The engine is not there: still loading, restarting, or stopped."""


class EngineDied(EngineError):
    """The engine process went away while it worked on this request."""
