"""CAGUL's parts: attention to importance, selection, the encoder, the discriminator, the losses. Blind to the
host.
"""
