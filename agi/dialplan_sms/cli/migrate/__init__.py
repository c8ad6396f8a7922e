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

    files       what is read, and what #include names; the new lines, backup and replacement
    dialplan    lines to steps: context, extension, priority, application; ${…} and $[…] in a text
    flow        how a call comes to a step, what a variable holds there, which steps use the SMS API
    request     what ${CURL(…)} or the program curl asks of it
    encoding    a parameter of the old request to what Set() takes
    senders     all uses, who sends, and what goes to sms.conf
    replies     who reads the answer, and SMS_STATUS in its place
    conversion  where one line may become several, into which, and what is to be done by hand
    report      what people see, without passwords
"""
