"""CAGUL's parts: attention to importance, selection, the encoder, the gate, the losses. Blind to the
host.
"""
