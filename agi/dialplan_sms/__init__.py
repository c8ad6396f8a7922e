"""Send SMS from the Asterisk dialplan through the PBX's SMS API."""

__version__ = "0.2.0.dev0"
