"""Benchmarks: figures, never asserts. On a shared machine only the ratios within one run count."""
