"""How fast is the model server on this machine, and llama.cpp beside it?"""
