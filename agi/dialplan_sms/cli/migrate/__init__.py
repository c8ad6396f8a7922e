"""``dialplan-sms migrate``: the CURL() recipe in dialplan files becomes ``Set(SMS_…)`` and a call.

The rule. Whatever runs CURL(), curl or wget on the address of the SMS API, or is handed it, is a
use of it. A use is converted only if all of this is certain, and else it is named, with the reason
and with the lines to put there by hand:

1. form: Set(x=${CURL(…)}), also in ExecIf(), or CURL() in a known test; System(curl …) or
   Set(x=${SHELL(curl …)}) with known options and nothing that a shell would replace;
2. values: literal, or encoded in a known way by each line that sets their variables on a way here;
3. sender: one login on every way here, by CURLOPT(userpwd), -u or the URL, and no other option;
4. reply: read nowhere but in known tests, to which every way comes from here, past no other SMS;
5. around it: no variable of the dialplan's own that sms.agi reads or sets; room for more lines.

::

    files       what is read, and what #include names
    dialplan    lines to steps: context, extension, priority, application
    expression  ${…} and $[…] inside a text
    flow        how a call comes to a step, what a variable holds there, which steps use the SMS API
    request     what ${CURL(…)} or the program curl asks of it
    encoding    a parameter of the old request to what Set() takes
    senders     what goes to sms.conf
    edits       where one line may become several, the new files, backup and replacement
    find        all uses, and who sends
    replies     who reads the answer, and SMS_STATUS in its place
    conversion  which lines change, and what is to be done by hand
    report      what people see, without passwords
"""
