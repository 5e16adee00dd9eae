"""What every recurrent layer is made of: the state it hands on, its shared parts, and the memories.

`linear` holds memories that are one matrix, whose online rule has an exact parallel form; `network` holds
memories that are a network learnt at test time, where a chunk's gradients are taken at the chunk's start.
"""
