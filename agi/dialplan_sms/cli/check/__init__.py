"""``dialplan-sms check``: what is wrong with an installation, the one cause of it, and its cure.

``command`` runs the parts, each of which is a module; a part looks at one thing and gives its
lines, as ``finding`` describes them. Nothing here sends an SMS.
"""
