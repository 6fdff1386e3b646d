"""The recurrent model: a latent state in place of the whole past.

`network` is the module, `batches` cuts a text into windows, `train` fits the one to the other, `model` is the contract.
"""
