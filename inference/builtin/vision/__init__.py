"""The built-in vision model `atelier-tiny-vl`: how its pictures are drawn, how it is trained and how it is scored.

Nothing of the platform imports this package; it uses mlx, mlx_vlm, transformers, tokenizers and PIL, never Django.
"""
