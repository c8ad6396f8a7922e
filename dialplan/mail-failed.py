#!/usr/bin/python3
"""Mails what dialplan-sms could not send. In sms.conf: on_failure = /usr/local/bin/mail-failed.py

By SMTP and not by sendmail, whose helpers gain rights that the service's unit lets nobody gain.
"""

import json
import smtplib
import sys
from email.message import EmailMessage
from email.utils import localtime

SERVER, PORT = "mail.example.com", 25
SENDER, TO = "pbx@example.com", "oncall@example.com"

failed = json.load(sys.stdin)["sms"]
lines = []
for sms in failed:
    numbers = ", ".join(f"{each['number']} {each['state']}" for each in sms["numbers"])
    lines += [f"SMS {sms['id']} of sender {sms['sender']} is {sms['state']} since {sms['ended']}"]
    lines += [f"  {sms['cause']}: {sms['reason']}", f"  {numbers}"]
    lines += [f"  > {line}" for line in sms.get("text", "").splitlines()]  # on_failure_text = yes
mail = EmailMessage()
mail["From"], mail["To"], mail["Date"] = SENDER, TO, localtime()
mail["Subject"] = f"{len(failed)} SMS not sent, the first is {failed[0]['id']}"
mail.set_content("\n".join([*lines, "", "dialplan-sms outbox show ID tells more."]))
with smtplib.SMTP(SERVER, PORT, timeout=10) as server:
    # server.starttls()
    # server.login("user", "password")
    server.send_message(mail)
