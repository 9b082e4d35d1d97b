"""What watches an engine and says when something is wrong. Pure: readings, probes and clocks come from the caller.

Nothing here touches MLX or a socket. Each monitor has a `report()` for the engine's stats.
"""
