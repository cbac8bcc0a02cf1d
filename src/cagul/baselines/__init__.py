"""What cagul is compared with: finetuning by the field's losses, and guardrails that train nothing."""
