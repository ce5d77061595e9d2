"""What stands in the way of this workspace on this machine, each with the command that mends it.

Nothing here imports LiteLLM, starts anything or asks the network: all of it takes well under a second.
"""
