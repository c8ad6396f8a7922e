"""``python -m dialplan_sms.sandbox``, the same as ``dialplan-sms sandbox``."""

from dialplan_sms.cli.sandbox.command import sandbox
from dialplan_sms.host.terminal import clean_output

if __name__ == "__main__":
    clean_output()
    sandbox(prog_name="dialplan-sms sandbox")
