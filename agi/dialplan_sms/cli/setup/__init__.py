"""``dialplan-sms setup``: puts everything in its place on a PBX, and takes it back."""
