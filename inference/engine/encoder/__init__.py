"""Engines for models that read whole texts at once: embedding models and rerankers.

mlx-vlm loads and runs them; what is here makes steps of many requests, and bills them. As all of `inference.engine` it
imports nothing of ours but the engine.
"""
