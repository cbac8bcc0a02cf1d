"""The command line: one file a group of verbs; parse, call, print. Heavy imports stay inside the commands."""
