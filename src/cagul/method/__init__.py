"""CAGUL's parts: attention to importance, selection, the encoder, the gate, the losses. None of them
knows the host.
"""
