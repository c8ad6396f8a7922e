"""``python -m dialplan_sms.sandbox``, the same as ``dialplan-sms sandbox``."""

from dialplan_sms.host.terminal import clean_output
from dialplan_sms.sandbox.command import sandbox

if __name__ == "__main__":
    clean_output()
    sandbox(prog_name="dialplan-sms sandbox")
