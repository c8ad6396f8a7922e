"""``dialplan-sms send``: one SMS, or a list: once each, however often it is interrupted.

::

    command    the command: its options, and the text from standard input
    single     one SMS, and what sends it, with connections and outbox that stay open
    list       a list, from the options to the exit status and what to do next
    listfile   a CSV to rows, with the lines that they begin in, and what becomes of a row
    plan       the text with {column}s, and the rows: to SMS to send, bad rows and duplicates
    journal    what became of each SMS of a list, on disk before and after its request
    run        sends what is left, at the pace of the gateways, and shows how far it is
    view       what an admin sees: dry runs, bad rows, failures; JSON
"""
