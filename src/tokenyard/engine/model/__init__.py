"""The tensors: checkpoints, decoder, attention, KV pool and sampler; the only torch in the tree."""
