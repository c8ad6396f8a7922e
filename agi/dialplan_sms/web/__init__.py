"""What speaks HTTP to others: the SMS API as a server, and the page; for production and sandbox.

It needs the packages of the extra ``http``.
"""
