"""``dialplan-sms send --to-file``: a list of SMS, once each, however often it is interrupted.

::

    listfile   the bytes of a CSV: rows and bad rows, with the lines they stand in
    source     where list and text come from: a file, a pipe, standard input
    template   a text with {column}s
    plan       rows and template: the SMS to send, the bad rows, the duplicates
    journal    what became of each SMS of a list, on disk before and after its request
    run        sends what is left, at the pace of the gateways; when it makes no sense to go on
    ending     Ctrl-C, and Ctrl-C again
    summary    what the list has come to, and what to do next
    view       what an admin sees: bad rows, dry run, failures, summary; JSON
    progress   the bar, or lines where nobody looks at a terminal
    command    all of it at the command's call
"""
