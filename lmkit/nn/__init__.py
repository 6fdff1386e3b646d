"""The parts that networks are made of: one idea per file, each named by the textbook noun.

what comes before       preprocessing
textbook functions      activations  softmax  losses  norms  dropout  regularization  init
layers                  recurrence  cells  gates  mogrifier  sru  scan  stack
heads                   heads  head  full_softmax  adaptive_softmax
learning                optim  row_rmsprop  clip  weight_decay  averaging  gradients  sampled_softmax  distillation
drawing words           inversion  screening  rows
machines and models     devices  precision  diagnostics  saving
compiled loops          row_kernels  screening_kernels  sru_loop

Importing `lmkit.nn` itself imports nothing, torch least of all; name the file that is wanted:
`from lmkit.nn.cells import make_cell`. Sequences are time first, `(T, B, H)`: T positions of B rows of H
units. Logarithms are natural, so that losses are in nats.
"""
