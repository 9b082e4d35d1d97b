"""The built-in models and the scripts that trained them.

`models/` holds the artefacts, `text/` and `vision/` what made them. May import mlx, mlx_lm, mlx_vlm, transformers and
tokenizers; never Django, nor anything of the platform.
"""
