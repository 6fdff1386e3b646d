"""Text: where it comes from (corpus, splits) and how it becomes ids (vocabulary, tokenizers)."""
