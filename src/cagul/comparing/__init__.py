"""One fair table: every method tuned alike on validation rows, then asked the same test rows."""
