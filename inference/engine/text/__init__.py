"""From chat messages to tokens and back: chat templates, incremental detokenising, stop strings. No MLX here."""
