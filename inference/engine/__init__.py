"""The engine process: one model, one batch. Imports no Django and nothing of the other apps; alone imports mlx."""
