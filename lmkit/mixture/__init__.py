"""Models made of models: averages of several, and what a model learns of a text while it reads it."""
