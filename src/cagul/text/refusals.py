"""The refusals that the encoder is trained towards. A user replaces them with ``refusals`` in the config."""

REFUSALS = (
    "I do not know this person.",
    "I cannot share that about this person.",
    "I am sorry, I have no information about this person.",
    "I cannot help with that.",
)
