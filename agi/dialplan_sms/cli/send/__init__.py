"""``dialplan-sms send``: one SMS, or a list: once each, however often it is interrupted.

::

    command    the command: its options, and the text from standard input
    single     one SMS, and what sends it, with connections and outbox that stay open
    list       a list, from the options to the exit status
    listfile   a CSV to rows, with the lines that they begin in, and what becomes of a row
    template   the text of a list, with {column}s
    plan       rows and text to the SMS to send, the bad rows, the duplicates
    journal    what became of each SMS of a list, on disk before and after its request
    run        sends what is left, at the pace of the gateways; stops if to go on makes no sense
    summary    what the list has come to, and what to do next
    view       what an admin sees: dry runs, bad rows, failures, the summary; JSON
    progress   the bar, or lines if standard error is no terminal
"""
