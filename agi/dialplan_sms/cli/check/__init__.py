"""``dialplan-sms check``: what is wrong with an installation, the one cause of it, and its cure.

::

    finding   one line: name, state, what is, what to do; what only follows from another is left out
    user      whose rights count, and what keeps him from a file
    process   other programs with a time limit
    asterisk  Asterisk's folders, process and console
    program   sms.agi, its Python and packages
    conf      sms.conf and the files that it names
    look      a connection to the PBX that trusts any certificate, to see it
    certificate, verdict    what the PBX's certificate and its answer say
    pbx       one PBX and its senders, asked with an empty number
    storage   the outbox and its disk
    service   the service: monitor, socket, FastAGI
    httpserver  the HTTP SMS server of [http]
    dialplan  modules, [sub-sms], the CURL() lines that are left
    inspect   all of it at the same time, in one order
    show      for people and for programs

Nothing here sends an SMS: the PBX is asked with an empty number, which it refuses.
"""
