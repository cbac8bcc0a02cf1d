"""Every method tuned alike and asked the same questions."""
