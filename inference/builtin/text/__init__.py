"""Where the text model atelier-tiny comes from: generated dialogues, tokenizer, training and scoring.

python -m inference.builtin.text.train    trains models/atelier-tiny from nothing but this folder
python -m inference.builtin.text.score    scores it on cases that were never trained on
"""
