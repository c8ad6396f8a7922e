"""``dialplan-sms migrate``: the CURL() recipe in dialplan files becomes ``Set(SMS_…)`` and a call.

::

    chosen    which files are looked at
    files     reads files and what they include, byte for byte
    dialplan  lines to steps: context, extension, priority, application
    recipe    a step to what it asks of the SMS API (curlcommand: the same for System(curl …))
    value     a parameter of the old request to what Set() takes
    find      where they are and who sends (found: the values)
    room      whether one line may become several
    answers   who reads the API's reply
    reply     such a line with SMS_STATUS in its place
    plan      which lines change, and what cannot be converted
    senders   what goes to sms.conf
    show      the diff, without passwords
    write     backup and replacement
    advice    what to do next
"""
