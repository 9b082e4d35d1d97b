"""Models that see: what pictures become in a prompt, and how that reaches the batch."""
