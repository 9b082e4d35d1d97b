"""OpenAI's files: stored for batches (`accounts.files`), seen by their owner alone. Imported by `routing` alone."""
