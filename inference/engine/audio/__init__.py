"""Engines for models that hear and for models that speak: sounds to text, and texts to sound.

mlx-audio loads and runs them; what is here takes their work apart into steps, shares these among users, and makes files
of the sound. As all of `inference.engine` it imports nothing of ours but the engine.
"""
