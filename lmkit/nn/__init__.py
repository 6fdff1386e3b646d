"""The parts that networks are made of: one idea per file, each named by the textbook noun.

preprocessing  activations  softmax  losses  norms  weight_decay  dropout  init  cells  stack  clip  optim  gradients
diagnostics  devices  saving

Importing `lmkit.nn` itself imports nothing, torch least of all; name the file that is wanted:
`from lmkit.nn.cells import make_cell`. Sequences are time first, `(T, B, H)`: T positions of B rows of H
units. Logarithms are natural, so that losses are in nats.
"""
