"""Send SMS from the Asterisk dialplan through the PBX's SMS API."""

__version__ = "0.1.0"
