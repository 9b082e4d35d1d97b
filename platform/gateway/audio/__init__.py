"""OpenAI's audio: transcriptions, translations, speech and its voices. Imported by `routing` and `schema` alone."""
