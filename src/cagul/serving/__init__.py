"""The guarded host as a service: OpenAI-compatible chat completions over HTTP."""
